// How a process shows whoever supervises it that it lives: a byte a second into an inherited pipe.
// A stopped process falls silent, and so does one that finds that its own work does not go on.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace quartet::common {

// Thread-safe.
class Heartbeat {
 public:
  // Writes to `fd` from a thread of its own; -1 means that nobody listens, and nothing is done.
  // Before each beat `is_well` (may be null) is asked from that thread; while it says no there is
  // no beat. Takes the descriptor over.
  Heartbeat(int fd, std::function<bool()> is_well,
            std::chrono::milliseconds interval = std::chrono::seconds(1));
  ~Heartbeat();

 private:
  void Run();

  const int fd_;
  const std::function<bool()> is_well_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

// Judges a loop that turns about once a second. Thread-safe.
class LoopMonitor {
 public:
  // The loop has turned.
  void Turned();
  // The loop is not running, which is no fault, until it turns again.
  void Rest() { last_turn_ms_ = kResting; }
  // Whether the loop rests or has turned within `limit`.
  bool IsWell(std::chrono::milliseconds limit) const;

 private:
  static constexpr int64_t kResting = -1;
  std::atomic<int64_t> last_turn_ms_{kResting};
};

}  // namespace quartet::common
