#include "worker/simulated/token_choice.h"

#include <algorithm>
#include <cmath>

namespace quartet::simulated {
namespace {

// Ids of single bytes and of the like come first in a vocabulary and are rare in text.
constexpr int64_t kFirstWordId = 256;
// Draws before a row's masks are taken to allow next to nothing.
constexpr int kMaxDraws = 64;
// The likeliest token's probability, and each next one's share of the one before it: together
// they stay below 1.
constexpr double kFirstProbability = 0.5;
constexpr double kNextShare = 0.45;

double UnitInterval(uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1p-53; }

// Zipf's law with exponent 1 over the ids that are neither bytes nor special: log-uniform.
int32_t WordId(uint64_t hash, int64_t limit) {
  const int64_t end = limit - limit / 64;
  const double u = UnitInterval(hash);
  if (end <= 2 * kFirstWordId) return static_cast<int32_t>(u * static_cast<double>(limit));
  const double ratio = static_cast<double>(end) / static_cast<double>(kFirstWordId);
  return static_cast<int32_t>(static_cast<double>(kFirstWordId) * std::pow(ratio, u));
}

class Choice {
 public:
  Choice(const TokenSpace& space, uint64_t hash, const kernels::SampleRow& row)
      : space_(space),
        row_(row),
        hash_(hash),
        limit_(row.sample_limit > 0 ? std::min<int64_t>(row.sample_limit, space.vocab_size)
                                    : space.vocab_size) {}

  int32_t Token() const {
    const int32_t forced = ForcedByBias();
    if (forced >= 0) return forced;
    if (!space_.eos_token_ids.empty() && Mix(hash_ ^ 1) % kTokensPerEos == 0) {
      for (const int32_t id : space_.eos_token_ids) {
        if (IsAllowed(id)) return id;
      }
    }
    for (uint64_t draw = 2; draw < 2 + kMaxDraws; ++draw) {
      const int32_t id = WordId(Mix(hash_ ^ draw), limit_);
      if (IsAllowed(id) && !IsEos(id)) return id;
    }
    return FirstAllowedFrom(static_cast<int32_t>(hash_ % static_cast<uint64_t>(limit_)));
  }

  // The sampled token and `num_logprobs` likeliest ones.
  void AddLogprobs(kernels::SampledToken* token) const {
    if (row_.num_logprobs < 0) return;
    const bool is_greedy = row_.temperature == 0 && row_.forced_token_id < 0;
    const int rank =
        is_greedy ? 1 : static_cast<int>(std::min<int64_t>(limit_, 1 + Mix(hash_ ^ 3) % 3));
    token->has_logprobs = true;
    token->logprob = {token->token_id, LogprobOfRank(rank), rank};
    const int count = static_cast<int>(std::min<int64_t>(row_.num_logprobs, limit_));
    uint64_t draw = 1u << 16;
    while (static_cast<int>(token->top.size()) < count) {
      const int next = static_cast<int>(token->top.size()) + 1;
      int32_t id = token->token_id;
      while (next != rank && (id == token->token_id || Contains(token->top, id))) {
        // Ids in turn once chance has found too few: a small vocabulary.
        id = draw % 256 < 128 ? WordId(Mix(hash_ ^ draw), limit_)
                              : static_cast<int32_t>(draw % static_cast<uint64_t>(limit_));
        ++draw;
      }
      token->top.push_back({id, LogprobOfRank(next), next});
    }
  }

 private:
  static float LogprobOfRank(int rank) {
    return static_cast<float>(std::log(kFirstProbability) + (rank - 1) * std::log(kNextShare));
  }
  static bool Contains(const std::vector<kernels::TokenLogprob>& list, int32_t id) {
    return std::any_of(list.begin(), list.end(),
                       [id](const kernels::TokenLogprob& entry) { return entry.token_id == id; });
  }

  bool IsEos(int32_t id) const {
    return std::find(space_.eos_token_ids.begin(), space_.eos_token_ids.end(), id) !=
           space_.eos_token_ids.end();
  }

  bool IsAllowed(int32_t id) const {
    if (id < 0 || id >= limit_) return false;
    if (!row_.allowed_mask.empty()) {
      const size_t word = static_cast<size_t>(id) / 32;
      if (word >= row_.allowed_mask.size() || (row_.allowed_mask[word] >> (id % 32) & 1) == 0) {
        return false;
      }
    }
    if (std::find(row_.banned_ids.begin(), row_.banned_ids.end(), id) != row_.banned_ids.end()) {
      return false;
    }
    return std::none_of(
        row_.logit_bias.begin(), row_.logit_bias.end(),
        [id](const kernels::LogitBias& b) { return b.token_id == id && b.bias <= -kForcingBias; });
  }

  // The allowed token with the largest forcing bias, -1 if none has one.
  int32_t ForcedByBias() const {
    int32_t best = -1;
    float best_bias = kForcingBias;
    for (const kernels::LogitBias& bias : row_.logit_bias) {
      if (bias.bias < best_bias || !IsAllowed(bias.token_id)) continue;
      if (bias.bias == best_bias && best >= 0 && bias.token_id > best) continue;
      best = bias.token_id;
      best_bias = bias.bias;
    }
    return best;
  }

  int32_t FirstAllowedFrom(int32_t first) const {
    for (int64_t i = 0; i < limit_; ++i) {
      const int32_t id = static_cast<int32_t>((first + i) % limit_);
      if (IsAllowed(id)) return id;
    }
    return -1;
  }

  const TokenSpace& space_;
  const kernels::SampleRow& row_;
  const uint64_t hash_;
  const int64_t limit_;
};

}  // namespace

kernels::SampledToken ChooseToken(const TokenSpace& space, uint64_t hash,
                                  const kernels::SampleRow& row) {
  if (row.temperature != 0 && row.top_k != 1) {
    hash = Mix(hash ^ Mix(row.seed));
    hash = Mix(hash ^ (uint64_t{row.choice_index} << 32 | row.output_index));
  }
  const Choice choice(space, hash, row);
  kernels::SampledToken token;
  token.token_id = row.forced_token_id >= 0 ? row.forced_token_id : choice.Token();
  if (token.token_id >= 0) choice.AddLogprobs(&token);
  return token;
}

}  // namespace quartet::simulated
