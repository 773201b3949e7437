#include "cli/eval/parallel_requests.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <vector>

namespace quartet::cli::eval {

absl::Status ForEach(int count, int concurrency, const std::function<absl::Status(int)>& job) {
  std::mutex mutex;
  int next = 0;
  absl::Status first_failure;
  const auto work = [&] {
    while (true) {
      int index = 0;
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (next == count || !first_failure.ok()) return;
        index = next++;
      }
      const absl::Status status = job(index);
      if (status.ok()) continue;
      std::lock_guard<std::mutex> lock(mutex);
      if (first_failure.ok()) first_failure = status;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < std::min(count, concurrency); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return first_failure;
}

}  // namespace quartet::cli::eval
