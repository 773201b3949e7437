#include "common/heartbeat.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

namespace quartet::common {
namespace {

int64_t SteadyMilliseconds() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Heartbeat::Heartbeat(int fd, std::function<bool()> is_well, std::chrono::milliseconds interval)
    : fd_(fd), is_well_(std::move(is_well)), interval_(interval) {
  if (fd_ < 0) return;
  fcntl(fd_, F_SETFD, FD_CLOEXEC);
  // A supervisor that does not read must not hold this process up.
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
  thread_ = std::thread([this] { Run(); });
}

Heartbeat::~Heartbeat() {
  if (fd_ < 0) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  close(fd_);
}

void Heartbeat::Run() {
  // A supervisor that is gone makes the write fail, nothing more.
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    if (!is_well_ || is_well_()) {
      [[maybe_unused]] const ssize_t written = write(fd_, ".", 1);
    }
    lock.lock();
    changed_.wait_for(lock, interval_, [this] { return stopping_; });
  }
}

void LoopMonitor::Turned() { last_turn_ms_ = SteadyMilliseconds(); }

bool LoopMonitor::IsWell(std::chrono::milliseconds limit) const {
  const int64_t last = last_turn_ms_;
  return last == kResting || SteadyMilliseconds() - last <= limit.count();
}

}  // namespace quartet::common
