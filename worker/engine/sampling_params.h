// How the tokens of one sequence are chosen and when it ends. Meanings and defaults are those of
// proto/quartet/v1/sampling.proto.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling.h"

namespace quartet::engine {

inline constexpr int kMaxLogprobs = 20;
inline constexpr int64_t kMaxBannedSequences = 1024;
// Of all of them together.
inline constexpr int64_t kMaxBannedIds = 8192;

struct SamplingParams {
  float temperature = 1;
  float top_p = 1;
  int32_t top_k = 0;  // 0 or -1: all
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<kernels::LogitBias> logit_bias;
  uint64_t seed = 0;
  int64_t max_tokens = 16;
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;
  std::vector<int32_t> allowed_token_ids;              // empty: all
  std::vector<std::vector<int32_t>> banned_sequences;  // that the output never contains
  int32_t num_logprobs = -1;                           // -1: not reported
  int32_t num_prompt_logprobs = -1;                    // -1: not reported

  bool HasPenalties() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

// Returns INVALID_ARGUMENT with field, value and range. Token ids must be below `vocab_size`.
absl::Status ValidateSamplingParams(const SamplingParams& params, int64_t vocab_size);

}  // namespace quartet::engine
