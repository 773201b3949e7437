// One sequence: the tokens of one answer of one request, how far its KV cache reaches, and when it
// ends. Plain structs at the border (SequenceRequest in, SequenceEvent out).
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/sampling_params.h"
#include "worker/engine/token_constraint.h"

namespace quartet::engine {

// A gateway's stream, and a sequence on it.
struct SequenceKey {
  uint64_t client_id = 0;
  uint64_t sequence_id = 0;
  bool operator==(const SequenceKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const SequenceKey& key) {
    return H::combine(std::move(h), key.client_id, key.sequence_id);
  }
};

// When a sequence came: a total order.
struct Arrival {
  int64_t milliseconds = 0;
  uint64_t number = 0;  // of the sequence, counted from the engine's start
  auto operator<=>(const Arrival&) const = default;
};

struct SequenceRequest {
  SequenceKey key;
  std::string request_id;  // for logs
  uint32_t choice_index = 0;
  uint32_t attempt = 0;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> output_ids;  // what earlier attempts generated
  SamplingParams sampling;
  int32_t priority = 0;
  std::string cache_salt;
  std::string tenant;
  uint64_t timeout_ms = 0;  // 0: never
  std::vector<int32_t> eos_token_ids;
  int32_t sample_limit = 0;  // ids from here up are never sampled
  // The shape of the output; null: any. Has gone through output_ids already, and is this request's
  // alone.
  std::shared_ptr<grammar::Matcher> matcher;
};

// kNone: it has not ended. kStop: an end-of-sequence or stop id. kLength: max_tokens or the end of
// the context.
enum class FinishReason { kNone, kStop, kLength };

struct PositionLogprobs {
  kernels::TokenLogprob token;
  std::vector<kernels::TokenLogprob> top;
};

// What one step brought to one sequence.
struct SequenceEvent {
  uint64_t sequence_id = 0;
  absl::InlinedVector<int32_t, 2> token_ids;  // mostly one: no memory for each token of a step
  std::vector<PositionLogprobs> logprobs;
  std::vector<PositionLogprobs> prompt_logprobs;  // in the first event
  FinishReason finish_reason = FinishReason::kNone;
  std::optional<int32_t> stop_token_id;
  uint32_t cached_tokens = 0;
  absl::Status error;  // not OK: the sequence failed and this is its last event
};

// How often each token stands in prompt and output. Kept up to date token by token.
class TokenCounts {
 public:
  void Add(int32_t token_id, bool is_output);
  const std::vector<kernels::TokenCount>& counts() const { return counts_; }

 private:
  std::vector<kernels::TokenCount> counts_;
  absl::flat_hash_map<int32_t, size_t> index_;
};

// Not thread-safe.
class Sequence {
 public:
  // `vocab_size`: rows of the logits, for masks over them.
  Sequence(SequenceRequest request, absl::Time arrival, int64_t vocab_size = 0);

  const SequenceRequest& request() const { return request_; }
  const SamplingParams& params() const { return request_.sampling; }
  absl::Time arrival() const { return arrival_; }
  Arrival arrival_order() const { return {absl::ToUnixMillis(arrival_), number}; }
  absl::Time deadline() const { return deadline_; }
  bool IsExpired(absl::Time now) const { return now >= deadline_; }

  // Prompt, then output, as far as it is known.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int64_t num_output_tokens() const { return num_tokens() - num_prompt_tokens_; }
  // Tokens, those among them that planned steps will sample, whose keys and values no planned step
  // computes yet.
  int64_t num_uncomputed_tokens() const {
    return num_tokens() + num_pending_samples - num_computed_tokens;
  }
  // Whether the samples that are pending bring it to its length, so that no step may follow.
  bool EndsWithPendingSamples(int64_t max_model_len) const;

  // Appends the token that the oldest pending sample gave and says whether it ends the sequence. An
  // id that ends it takes precedence over the length. REQUIRES: num_pending_samples > 0.
  FinishReason AppendOutput(int32_t token_id, int64_t max_model_len);

  // What the next token may be. Brought up to date after each token, by PrepareNextRow.
  const TokenConstraint& constraint() const { return constraint_; }
  // Whether PrepareNextRow has work to do, which several threads may do for several sequences.
  bool needs_preparation() const { return constraint_.is_dynamic(); }
  void PrepareNextRow() {
    constraint_.Prepare(output(), num_output_tokens() < params().min_tokens);
  }

  // The row that samples this sequence's next token. Points into the sequence. REQUIRES:
  // PrepareNextRow was called since the last token, if it is needed.
  kernels::SampleRow NextSampleRow(int64_t logits_row) const;
  // The row that reports the prompt token at `position`, from the logits before it.
  kernels::SampleRow PromptLogprobRow(int64_t logits_row, int64_t position) const;

  // The first position of the prompt, from 1, whose log-probability is wanted and that no planned
  // step brings; 0 if there is none.
  int64_t next_prompt_logprob_position() const;

  // --- Written by the scheduler. Plans run ahead of their results, so these count what planned
  // steps will have done. ---
  uint64_t number = 0;              // counts sequences up
  int64_t num_computed_tokens = 0;  // their keys and values are in the cache
  int64_t num_pending_samples = 0;  // tokens that planned steps will bring
  int64_t num_planned_prompt_logprobs = 0;
  std::vector<int32_t> blocks;
  int64_t num_sent_blocks = 0;    // of `blocks`: in the block tables of all ranks
  int64_t num_shared_blocks = 0;  // of `blocks`: known to the prefix cache
  int64_t num_cached_prompt_tokens =
      -1;             // found in the prefix cache when it first ran; -1: not yet
  int32_t slot = -1;  // -1: not running
  int num_preemptions = 0;
  bool is_removed = false;  // kept only until the steps that read it are done

  // --- Written by the engine ---
  bool has_sent_event = false;
  std::vector<PositionLogprobs> prompt_logprobs;  // collected so far; sent in the first event

 private:
  std::span<const int32_t> output() const {
    return std::span<const int32_t>(tokens_).subspan(static_cast<size_t>(num_prompt_tokens_));
  }

  const SequenceRequest request_;
  const absl::Time arrival_;
  const absl::Time deadline_;
  const int64_t num_prompt_tokens_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> end_ids_;  // what ends it when sampled
  TokenCounts counts_;            // only with penalties
  TokenConstraint constraint_;
};

}  // namespace quartet::engine
