// A stand-in for grammars in tests of repeatable tokens: if a token were lost, doubled or taken by
// another sequence, what may come next would change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "common/mix_bits.h"
#include "worker/grammar/grammar.h"

namespace quartet::engine {

// A grammar whose next tokens depend on all that came before: about a quarter of all ids, and now
// and then the end.
class HistoryMatcher : public grammar::Matcher {
 public:
  explicit HistoryMatcher(int32_t vocab_size) : vocab_size_(vocab_size) {}

  absl::Status Accept(int32_t id) override {
    if (!Allows(id)) return absl::InvalidArgumentError("not this id");
    history_ = common::MixBits(history_ ^ static_cast<uint64_t>(id + 1));
    return absl::OkStatus();
  }
  absl::Status FillMask(std::span<uint32_t> mask) override {
    std::fill(mask.begin(), mask.end(), 0);
    for (int32_t id = 0; id < vocab_size_; ++id) {
      if (Allows(id)) mask[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    }
    return absl::OkStatus();
  }
  bool CanEnd() const override { return history_ % 8 == 0; }

 private:
  bool Allows(int32_t id) const {
    return common::MixBits(history_ + static_cast<uint64_t>(id) * 1000003) % 4 == 0;
  }

  const int32_t vocab_size_;
  uint64_t history_ = 1;
};

}  // namespace quartet::engine
