// When a process of a worker ends: a signal tells it to stop.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/heartbeat.h"

namespace quartet::worker_service {

// Thread-safe.
class ProcessEnd {
 public:
  // From now on a stop calls `on_stop` (at once if it has come already) instead of ending the
  // process at once, as it does at first and after a null function: there is nothing to end in
  // order then. `on_stop` must not call this object.
  void SetOrderly(std::function<void()> on_stop);
  // Asks for the end.
  void Stop();
  // Waits for it. False if the time is over first.
  bool WaitFor(absl::Duration duration);
  // Whether a stop has come.
  bool has_come() { return WaitFor(absl::ZeroDuration()); }

  // The main loop's signs of life, which the process's heartbeat judges.
  common::LoopMonitor& loop() { return loop_; }

 private:
  common::LoopMonitor loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_stop_;  // both: guarded by mutex_
  bool has_come_ = false;
};

// How something that runs in another thread ended. Thread-safe.
class Ending {
 public:
  // The first call counts.
  void Come(const absl::Status& how);
  // False if the time is over first.
  bool WaitFor(absl::Duration duration);
  // OK until it has come.
  absl::Status how();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_come_ = false;  // both: guarded by mutex_
  absl::Status how_;
};

}  // namespace quartet::worker_service
