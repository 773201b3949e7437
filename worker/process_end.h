// Why and when a worker process ends: told to stop by a signal, or failed.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace quartet::worker_service {

// Thread-safe.
class ProcessEnd {
 public:
  // Until SetOrderly(true) there is nothing to end in order, and a stop ends the process at once.
  void SetOrderly(bool is_orderly);
  // Asks for an orderly end.
  void Stop();
  // Asks for an end with an error. The first reason counts.
  void Fail(const absl::Status& why);
  // Waits for either. False if the time is over first.
  bool WaitFor(absl::Duration duration);
  // OK if the process was told to stop.
  absl::Status status();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_orderly_ = false;  // all below: guarded by mutex_
  bool has_come_ = false;
  absl::Status status_;
};

}  // namespace quartet::worker_service
