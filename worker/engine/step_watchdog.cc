#include "worker/engine/step_watchdog.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"

namespace quartet::engine {

absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

void StepWatchdog::StepStarted(uint64_t step, int64_t num_tokens, absl::Time now) {
  std::lock_guard<std::mutex> lock(mutex_);
  is_running_ = true;
  step_ = step;
  num_tokens_ = num_tokens;
  started_ = now;
  last_sign_ = now;
}

void StepWatchdog::StepEnded(absl::Time now) {
  std::lock_guard<std::mutex> lock(mutex_);
  is_running_ = false;
  last_sign_ = now;
  // A probe says nothing about tokens.
  if (num_tokens_ == 0) return;
  const double seen = absl::ToDoubleSeconds(now - started_) /
                      static_cast<double>(std::max<int64_t>(1, num_tokens_));
  // The slowest step counts; others make it fade slowly.
  seconds_per_token_ = std::max(seen, seconds_per_token_ + 0.05 * (seen - seconds_per_token_));
}

absl::Time StepWatchdog::LastSign() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_sign_;
}

absl::Duration StepWatchdog::Limit(int64_t num_tokens) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return LimitLocked(num_tokens);
}

absl::Duration StepWatchdog::LimitLocked(int64_t num_tokens) const {
  return options_.floor +
         absl::Seconds(options_.factor * seconds_per_token_ * static_cast<double>(num_tokens));
}

absl::Status StepWatchdog::Check(absl::Time now) const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!is_running_ || now - started_ <= LimitLocked(num_tokens_)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("step ", step_, " of ", num_tokens_, " tokens has run for ",
                   absl::FormatDuration(now - started_), ", its limit is ",
                   absl::FormatDuration(LimitLocked(num_tokens_))));
}

}  // namespace quartet::engine
