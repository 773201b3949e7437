// Spreads small independent pieces of work over a few threads, if they are enough to be worth it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quartet::engine {

// ForEach: one thread at a time. The threads are started when they are first needed.
class HelperThreads {
 public:
  // Fewer pieces than this are done by the caller.
  static constexpr size_t kLeastPieces = 8;

  // 0: none.
  explicit HelperThreads(int num_threads = DefaultNumThreads()) : num_threads_(num_threads) {}
  ~HelperThreads();

  // Calls work(0) to work(count - 1), in any order, and returns when all have returned.
  void ForEach(size_t count, const std::function<void(size_t)>& work);

  // Leaves cores to the device's own threads.
  static int DefaultNumThreads();

 private:
  void Loop();
  void DoPieces();

  const int num_threads_;
  std::vector<std::thread> threads_;
  std::atomic<size_t> next_{0};

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  const std::function<void(size_t)>* work_ = nullptr;
  size_t count_ = 0;
  size_t round_ = 0;
  int num_busy_ = 0;
  bool is_stopping_ = false;
};

}  // namespace quartet::engine
