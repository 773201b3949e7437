#include "worker/engine/helper_threads.h"

#include <algorithm>

namespace quartet::engine {

HelperThreads::~HelperThreads() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

int HelperThreads::DefaultNumThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 0, 4);
}

void HelperThreads::ForEach(size_t count, const std::function<void(size_t)>& work) {
  if (count < kLeastPieces || num_threads_ == 0) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  while (static_cast<int>(threads_.size()) < num_threads_) {
    threads_.emplace_back([this] { Loop(); });
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_ = &work;
    count_ = count;
    next_ = 0;
    ++round_;
  }
  changed_.notify_all();
  DoPieces();
  std::unique_lock<std::mutex> lock(mutex_);
  // Nobody may begin with this round any more, and those who have are to end.
  work_ = nullptr;
  changed_.wait(lock, [this] { return num_busy_ == 0; });
}

void HelperThreads::DoPieces() {
  for (size_t i = next_++; i < count_; i = next_++) (*work_)(i);
}

void HelperThreads::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  size_t done = 0;
  while (true) {
    changed_.wait(lock, [&] { return is_stopping_ || (work_ != nullptr && round_ != done); });
    if (is_stopping_) return;
    done = round_;
    const std::function<void(size_t)>& work = *work_;
    const size_t count = count_;
    ++num_busy_;
    lock.unlock();
    for (size_t i = next_++; i < count; i = next_++) work(i);
    lock.lock();
    if (--num_busy_ == 0) changed_.notify_all();
  }
}

}  // namespace quartet::engine
