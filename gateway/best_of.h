// Keeps back more answers than were asked for, and gives the likeliest of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gateway/generation_types.h"

namespace quartet::gateway {

// The score of an answer is the mean log-probability of its tokens; of equal ones the earlier wins.
// Not thread-safe.
class BestOf {
 public:
  // Of `num_answers`, `n` will be given. REQUIRES: the answers' tokens have log-probabilities,
  // which are taken off again unless `show_logprobs`.
  BestOf(uint32_t n, uint32_t num_answers, bool show_logprobs);

  void Add(DeltaEvent delta);
  void Add(FinishedEvent finished);
  // The events of the n best, best first, with their places as index: one delta and the end of
  // each. REQUIRES: all answers have finished.
  std::vector<GenerationEvent> TakeBest();

 private:
  struct Answer {
    DeltaEvent content;
    FinishedEvent finished;
    double sum = 0;
    size_t num_tokens = 0;
    double score() const { return num_tokens == 0 ? 0 : sum / static_cast<double>(num_tokens); }
  };

  const uint32_t n_;
  const bool show_logprobs_;
  std::vector<Answer> answers_;
};

}  // namespace quartet::gateway
