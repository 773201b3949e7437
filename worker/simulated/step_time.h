// How long a step takes on the hardware of a profile, from sizes alone: a roofline of each part,
// one part after the other. All ranks do the same work at the same time, so one rank's time is the
// step's. A model of the hardware, not a measurement: kernels that miss the peaks take longer.
#pragma once

#include <cstdint>

#include "worker/model/model_config.h"
#include "worker/model/step_input.h"
#include "worker/parallel/shard.h"
#include "worker/simulated/profile.h"

namespace quartet::simulated {

// What a step computes, summed over its sequences.
struct StepWork {
  int64_t num_tokens = 0;
  int64_t num_logits = 0;
  int64_t kv_tokens = 0;        // positions whose keys and values are read: each sequence's kv_len
  int64_t attention_pairs = 0;  // (query, key) pairs: position + 1 for each token
};

StepWork WorkOf(const model::StepInput& input);

class StepTime {
 public:
  StepTime(const Profile& profile, const model::ModelConfig& config, const parallel::Shard& shard);

  // Seconds:
  //   products    max(FLOPs / FLOP/s, weight bytes / bandwidth); weights are read once a step, the
  //               lm_head only for rows of logits
  // + attention   max(4 * pairs * heads * head_dim * layers / FLOP/s, KV bytes / bandwidth)
  // + exchange    (2 * layers + 1) all-reduces of [num_tokens, hidden_size] and a gather of
  //               [num_logits, vocab_size], each latency + bytes / bandwidth; none on one GPU
  // + step_overhead
  double Seconds(const StepWork& work) const;

  // Of one rank: weights of its shard, the embedding and the norms among them.
  int64_t weight_bytes() const { return weight_bytes_; }
  // Of one rank: keys and values of one position in all layers.
  int64_t kv_bytes_per_token() const { return kv_bytes_per_token_; }

 private:
  double Roofline(double flops, double bytes) const;

  Profile profile_;
  double layer_values_ = 0;    // weights that every token's products read
  double lm_head_values_ = 0;  // weights that rows of logits read
  double heads_width_ = 0;     // query heads * head_dim of this rank, all layers
  double hidden_size_ = 0;
  double gathered_values_ = 0;  // a row of logits, without rank 0's own part
  int num_all_reduces_ = 0;
  int64_t weight_bytes_ = 0;
  int64_t kv_bytes_per_token_ = 0;
};

}  // namespace quartet::simulated
