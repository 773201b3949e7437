#include "worker/process_end.h"

#include <unistd.h>

#include "common/logging.h"

namespace quartet::worker_service {

void ProcessEnd::SetOrderly(bool is_orderly) {
  std::lock_guard<std::mutex> lock(mutex_);
  is_orderly_ = is_orderly;
}

void ProcessEnd::Stop() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!is_orderly_) {
    common::LogInfo("stopping before the worker is ready");
    _exit(0);
  }
  has_come_ = true;
  changed_.notify_all();
}

void ProcessEnd::Fail(const absl::Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!has_come_) status_ = why;
  has_come_ = true;
  changed_.notify_all();
}

bool ProcessEnd::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(duration),
                           [this] { return has_come_; });
}

absl::Status ProcessEnd::status() {
  std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

}  // namespace quartet::worker_service
