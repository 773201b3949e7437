// Chooses tokens from a hash instead of from logits: the same hash and the same row give the same
// token. Knows no text: it relies on frequent tokens having low ids and special ones the highest,
// as byte-level BPE vocabularies do.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sampling.h"

namespace quartet::simulated {

// A bijection that spreads every bit over all others (splitmix64's finalizer).
inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct TokenSpace {
  int64_t vocab_size = 0;              // ids of rows without a sample_limit are below this
  std::vector<int32_t> eos_token_ids;  // one of them now and then ends a sequence; may be empty
};

// One token in so many is an end-of-sequence id, as long as the row allows it.
inline constexpr uint64_t kTokensPerEos = 512;
// A token with at least this logit_bias is chosen before all others; with its negative, never.
inline constexpr float kForcingBias = 50;

// Honours sample_limit, banned_ids, allowed_mask, forced_token_id and logit_biases that force or
// forbid; temperature 0 and top_k 1 don't depend on the seed. Other parameters change nothing. Log-
// probabilities are made up, but finite, falling with the rank, and below 0 in sum. Constant time
// but for masks that allow almost nothing. The token id is -1 if nothing is allowed.
kernels::SampledToken ChooseToken(const TokenSpace& space, uint64_t hash,
                                  const kernels::SampleRow& row);

}  // namespace quartet::simulated
