#include "worker/process_end.h"

#include <unistd.h>

#include <utility>

#include "common/logging.h"

namespace quartet::worker_service {

void ProcessEnd::SetOrderly(std::function<void()> on_stop) {
  std::lock_guard<std::mutex> lock(mutex_);
  on_stop_ = std::move(on_stop);
  if (has_come_ && on_stop_) on_stop_();
}

void ProcessEnd::Stop() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!on_stop_) {
    common::LogInfo("stopping while there is nothing to end in order");
    _exit(0);
  }
  if (std::exchange(has_come_, true)) return;
  on_stop_();
  changed_.notify_all();
}

bool ProcessEnd::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(duration),
                           [this] { return has_come_; });
}

void Ending::Come(const absl::Status& how) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!std::exchange(has_come_, true)) how_ = how;
  changed_.notify_all();
}

bool Ending::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(duration),
                           [this] { return has_come_; });
}

absl::Status Ending::how() {
  std::lock_guard<std::mutex> lock(mutex_);
  return how_;
}

}  // namespace quartet::worker_service
