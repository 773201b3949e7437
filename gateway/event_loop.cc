#include "gateway/event_loop.h"

#include <algorithm>
#include <chrono>

#include "absl/time/clock.h"
#include "common/status_macros.h"

namespace quartet::gateway {
namespace {

// Timers must not jump when the wall clock is set.
absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

EventLoop::EventLoop(Mode mode) : mode_(mode) {
  if (mode_ == Mode::kThread) thread_ = std::thread([this] { RunThread(); });
}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Stop() {
  std::deque<Task> tasks;
  std::map<std::pair<absl::Time, uint64_t>, Task> timers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    tasks.swap(tasks_);
    timers.swap(timers_);
    timer_times_.clear();
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  // `tasks` and `timers` die here, outside the lock: their captures may post again while they go.
}

void EventLoop::Post(Task task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) return;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

uint64_t EventLoop::PostAfter(absl::Duration delay, Task task) {
  uint64_t id = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    id = next_timer_++;
    if (stopped_) return id;
    const absl::Time when = (mode_ == Mode::kManual ? manual_now_ : SteadyNow()) + delay;
    timers_.emplace(std::make_pair(when, id), std::move(task));
    timer_times_.emplace(id, when);
  }
  wake_.notify_one();
  return id;
}

void EventLoop::CancelTimer(uint64_t id) {
  Task dropped;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = timer_times_.find(id);
  if (found == timer_times_.end()) return;
  const auto timer = timers_.find({found->second, id});
  dropped = std::move(timer->second);
  timers_.erase(timer);
  timer_times_.erase(found);
}

absl::Time EventLoop::Now() const {
  if (mode_ == Mode::kThread) return SteadyNow();
  std::lock_guard<std::mutex> lock(mutex_);
  return manual_now_;
}

EventLoop::Task EventLoop::TakeReady() {
  const absl::Time now = mode_ == Mode::kManual ? manual_now_ : SteadyNow();
  // Timers first: a loop kept busy by posts must not starve deadlines.
  if (!timers_.empty() && timers_.begin()->first.first <= now) {
    Task task = std::move(timers_.begin()->second);
    timer_times_.erase(timers_.begin()->first.second);
    timers_.erase(timers_.begin());
    return task;
  }
  if (tasks_.empty()) return nullptr;
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  return task;
}

void EventLoop::RunThread() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    if (Task task = TakeReady()) {
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    } else if (timers_.empty()) {
      wake_.wait(lock);
    } else {
      const absl::Duration wait = timers_.begin()->first.first - SteadyNow();
      wake_.wait_for(lock, absl::ToChronoNanoseconds(std::min(wait, absl::Hours(1))));
    }
  }
}

void EventLoop::RunReady() { Advance(absl::ZeroDuration()); }

void EventLoop::Advance(absl::Duration by) {
  QUARTET_CHECK(mode_ == Mode::kManual);
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Time end = manual_now_ + by;
  while (true) {
    if (Task task = TakeReady()) {
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    } else if (!timers_.empty() && timers_.begin()->first.first <= end) {
      manual_now_ = timers_.begin()->first.first;
    } else {
      manual_now_ = end;
      return;
    }
  }
}

}  // namespace quartet::gateway
