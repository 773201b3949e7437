#include "worker/engine/step_budget.h"

#include <algorithm>

namespace quartet::engine {
namespace {

// How much the newest step counts. A prompt's tokens become dearer as its context grows and the
// next step's bound depends on it, so what costs more is believed faster.
constexpr double kWeight = 0.2;
constexpr double kWeightIfDearer = 0.8;
// What is aimed at, of the target: a token of the next step is dearer than the last one's.
constexpr double kMargin = 0.9;
// Fewer prompt tokens than this say little about the cost of one.
constexpr int64_t kTellingTokens = 8;

double Blend(double old_value, double seen, double weight) {
  return old_value == 0 ? seen : old_value + weight * (seen - old_value);
}

}  // namespace

int64_t StepBudget::PromptTokens(int64_t num_decodes, int64_t most) const {
  if (options_.target == absl::InfiniteDuration() || num_decodes == 0) return most;
  most = std::min(most, std::max(trusted_tokens_, options_.min_tokens));
  const int64_t least = std::min(options_.min_tokens, most);
  if (prompt_token_seconds_ == 0) return most;
  const double target =
      std::max(kMargin * absl::ToDoubleSeconds(options_.target), 2 * decode_seconds_);
  const double tokens = (target - decode_seconds_) / prompt_token_seconds_;
  return std::clamp(static_cast<int64_t>(std::min(tokens, static_cast<double>(most))), least, most);
}

absl::Duration StepBudget::Predict(int64_t num_decodes, int64_t num_prompt_tokens) const {
  const double decode = num_decodes > 0 ? decode_seconds_ : 0;
  return absl::Seconds(decode + prompt_token_seconds_ * static_cast<double>(num_prompt_tokens));
}

void StepBudget::Observe(int64_t num_decodes, int64_t num_prompt_tokens, absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (num_prompt_tokens == 0) {
    if (num_decodes > 0) decode_seconds_ = Blend(decode_seconds_, seconds, kWeight);
    return;
  }
  if (num_prompt_tokens < kTellingTokens) return;
  if (num_decodes > 0) trusted_tokens_ = std::max(options_.first_tokens, 2 * num_prompt_tokens);
  const double rest = std::max(seconds - (num_decodes > 0 ? decode_seconds_ : 0), 1e-9);
  const double seen = rest / static_cast<double>(num_prompt_tokens);
  prompt_token_seconds_ =
      Blend(prompt_token_seconds_, seen, seen > prompt_token_seconds_ ? kWeightIfDearer : kWeight);
}

}  // namespace quartet::engine
