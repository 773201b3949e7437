// Notices a step that takes far longer than such steps take. It only judges; who asks decides what
// to do. Learns the time a token takes from the steps themselves.
#pragma once

#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace quartet::engine {

// Time since some fixed moment, from a clock that nobody sets: a corrected system clock must not
// look like a step that hangs or a request that is overdue.
absl::Time SteadyNow();

// Thread-safe.
class StepWatchdog {
 public:
  struct Options {
    absl::Duration floor = absl::Seconds(30);
    double factor = 4;  // times the predicted duration, on top of the floor
    // Used until steps have been seen; should be a slow machine's.
    double seconds_per_token = 0.01;
  };

  explicit StepWatchdog(const Options& options)
      : options_(options), seconds_per_token_(options.seconds_per_token) {}

  void StepStarted(uint64_t step, int64_t num_tokens, absl::Time now);
  void StepEnded(absl::Time now);

  // DEADLINE_EXCEEDED with the step, its size, how long it has run and the limit, if a step runs
  // that is over its limit.
  absl::Status Check(absl::Time now) const;
  // The last sign that steps go on: when the running one started, or else the last one ended. The
  // infinite past before the first.
  absl::Time LastSign() const;
  // How long a step of this size may take.
  absl::Duration Limit(int64_t num_tokens) const;

 private:
  absl::Duration LimitLocked(int64_t num_tokens) const;

  const Options options_;
  mutable std::mutex mutex_;
  bool is_running_ = false;  // all below: guarded by mutex_
  uint64_t step_ = 0;
  int64_t num_tokens_ = 0;
  absl::Time started_;
  absl::Time last_sign_ = absl::InfinitePast();
  double seconds_per_token_;
};

}  // namespace quartet::engine
