#include "gateway/best_of.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace quartet::gateway {

BestOf::BestOf(uint32_t n, uint32_t num_answers, bool show_logprobs)
    : n_(n), show_logprobs_(show_logprobs), answers_(num_answers) {}

void BestOf::Add(DeltaEvent delta) {
  Answer& answer = answers_[delta.index];
  answer.content.text += delta.text;
  for (OutputToken& token : delta.tokens) {
    if (token.logprobs.has_value()) {
      answer.sum += token.logprobs->token.logprob;
      ++answer.num_tokens;
    }
    if (!show_logprobs_) token.logprobs.reset();
    answer.content.tokens.push_back(std::move(token));
  }
  std::move(delta.prompt_tokens.begin(), delta.prompt_tokens.end(),
            std::back_inserter(answer.content.prompt_tokens));
}

void BestOf::Add(FinishedEvent finished) { answers_[finished.index].finished = finished; }

std::vector<GenerationEvent> BestOf::TakeBest() {
  std::stable_sort(answers_.begin(), answers_.end(),
                   [](const Answer& a, const Answer& b) { return a.score() > b.score(); });
  std::vector<GenerationEvent> events;
  for (uint32_t i = 0; i < n_; ++i) {
    answers_[i].content.index = answers_[i].finished.index = i;
    events.emplace_back(std::move(answers_[i].content));
    events.emplace_back(std::move(answers_[i].finished));
  }
  return events;
}

}  // namespace quartet::gateway
