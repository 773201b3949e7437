// The thread on which all state of running generations lives: tasks in order of posting, and
// timers. One thread and no locks, so that a step's news, a client's cancel and a lost worker can't
// interleave.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace quartet::gateway {

// Post, PostAfter and CancelTimer may be called from any thread.
class EventLoop {
 public:
  using Task = absl::AnyInvocable<void()>;
  enum class Mode {
    kThread,  // Runs its own thread from Start to Stop.
    kManual,  // Runs in RunReady and Advance, on a clock that only Advance moves. For tests.
  };

  explicit EventLoop(Mode mode = Mode::kThread);
  ~EventLoop();

  // Joins the thread; tasks that have not run are destroyed. Later posts are dropped.
  void Stop();
  void Post(Task task);
  // Returns an id for CancelTimer, never 0.
  uint64_t PostAfter(absl::Duration delay, Task task);
  // Does nothing if the timer has run, or `id` is 0.
  void CancelTimer(uint64_t id);
  // The loop's clock.
  absl::Time Now() const;

  // REQUIRES: kManual. Runs posted tasks and due timers until none is left.
  void RunReady();
  // REQUIRES: kManual. Moves the clock and runs what becomes due, in order.
  void Advance(absl::Duration by);

 private:
  void RunThread();
  // Takes the next task that may run, or an empty one.
  Task TakeReady();

  const Mode mode_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;                                  // Guarded by mutex_.
  std::map<std::pair<absl::Time, uint64_t>, Task> timers_;  // Guarded by mutex_.
  std::map<uint64_t, absl::Time> timer_times_;              // Guarded by mutex_.
  uint64_t next_timer_ = 1;                                 // Guarded by mutex_.
  absl::Time manual_now_ = absl::UnixEpoch();               // Guarded by mutex_.
  bool stopped_ = false;                                    // Guarded by mutex_.
  std::thread thread_;
};

}  // namespace quartet::gateway
