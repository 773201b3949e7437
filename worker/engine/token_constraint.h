// Which tokens one sequence may sample next: what its grammar, its allowed ids and its banned
// sequences leave. The first stage of sampling (kernels/sampling.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling.h"
#include "worker/engine/sampling_params.h"
#include "worker/grammar/grammar.h"

namespace quartet::engine {

// Not thread-safe.
class TokenConstraint {
 public:
  TokenConstraint() = default;
  // `matcher` may be null. `end_ids` end the sequence, sorted; ids from `sample_limit` up (0: none)
  // are never sampled.
  TokenConstraint(std::shared_ptr<grammar::Matcher> matcher, const SamplingParams& params,
                  std::vector<int32_t> end_ids, int64_t vocab_size, int32_t sample_limit);

  bool has_grammar() const { return matcher_ != nullptr; }
  // Whether it changes from token to token.
  bool is_dynamic() const { return has_grammar() || !banned_sequences_.empty(); }

  // The next token of the output, which doesn't end it.
  void Accept(int32_t token_id);
  // Works out what may come after `output`. `is_below_min`: end ids are not wanted yet.
  void Prepare(std::span<const int32_t> output, bool is_below_min);
  // Sets the row's mask and banned ids, which stay until the next Prepare.
  void Fill(bool is_below_min, kernels::SampleRow* row) const;

  // Why the sequence can't go on: the grammar took too long, or nothing is left to be sampled.
  const absl::Status& status() const { return status_; }
  // The grammar is at its end, and no id that ends a sequence may be sampled.
  bool has_ended() const { return has_ended_; }

 private:
  bool IsAllowedByMask(int32_t id) const;
  bool AnythingIsLeft() const;

  std::shared_ptr<grammar::Matcher> matcher_;
  std::vector<std::vector<int32_t>> banned_sequences_;  // of more than one id
  std::vector<int32_t> end_ids_;
  int32_t sample_limit_ = 0;
  std::vector<uint32_t> allowed_;  // by allowed ids alone, ids from sample_limit up taken out
  std::vector<uint32_t> mask_;     // of the next token; empty: all
  std::vector<int32_t> always_banned_;
  std::vector<int32_t> banned_;  // of the next token, end ids apart
  std::vector<int32_t> banned_and_end_ids_;
  absl::Status status_;
  bool has_ended_ = false;
};

}  // namespace quartet::engine
