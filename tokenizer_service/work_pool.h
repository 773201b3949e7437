// A few threads and a bounded queue for work that is too long for gRPC's own threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quartet::tokenizer {

// Thread-safe.
class WorkPool {
 public:
  WorkPool(int num_threads, size_t max_queued);
  // Finishes what is queued.
  ~WorkPool();

  // Runs `work` on one of the threads; false, without running it, if the queue is full.
  bool TryRun(std::function<void()> work);

 private:
  void Loop();

  const size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace quartet::tokenizer
