// What the sampler needs for one row of logits, and what it answers. Plain structs that know no
// device. The pointers in SampleRow point into host memory; a device copies what it needs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quartet::kernels {

// How often a token stands in a sequence so far.
struct TokenCount {
  int32_t token_id = 0;
  int32_t output_count = 0;  // occurrences in the output; 0 if it is only in the prompt
};

struct LogitBias {
  int32_t token_id = 0;
  float bias = 0;
};

// One row to sample. Order of operations: allowed tokens -> logit_bias -> repetition -> frequency /
// presence -> temperature -> min_p -> top_k -> top_p. Log-probabilities are of the raw logits.
struct SampleRow {
  int64_t logits_row = 0;  // which row of the logits
  float temperature = 1;   // 0: greedy (the lowest id wins a tie)
  float top_p = 1;
  int32_t top_k = 0;  // 0: all
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  uint32_t choice_index =
      0;  // Philox counter: (seed, choice_index, output_index). Salmon et al. 2011.
  uint32_t output_index = 0;  // tokens of output before this one
  std::span<const LogitBias> logit_bias;
  std::span<const TokenCount>
      counts;  // every distinct token of prompt and output; needed only with penalties
  std::span<const int32_t> banned_ids;     // never sampled at this step (end ids before min_tokens)
  std::span<const uint32_t> allowed_mask;  // one bit an id, or empty: all
  int32_t num_logprobs = -1;               // -1: none; else alternatives beside the sampled token
  // Ids from here up are never sampled and have no part in log-probabilities; 0: the call's limit.
  int32_t sample_limit = 0;
  // Not -1: nothing is sampled; this id is answered, with its log-probability. For prompts.
  int32_t forced_token_id = -1;
};

struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0;  // natural logarithm
  int32_t rank = 0;   // 1 is the likeliest
};

struct SampledToken {
  // -1: no id could be sampled, because all are masked or the logits are not numbers.
  int32_t token_id = 0;
  bool has_logprobs = false;
  TokenLogprob logprob;
  std::vector<TokenLogprob> top;  // best first
};

}  // namespace quartet::kernels
