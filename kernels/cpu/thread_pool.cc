#include "kernels/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "common/status_macros.h"

namespace quartet::kernels::cpu {
namespace {

// Decode runs a loop every 10 to 100 us; waking a sleeping thread costs about as much. Longer
// spinning would only take the core from other processes.
constexpr std::chrono::microseconds kSpinTime(50);
constexpr int kPausesPerClockRead = 32;
constexpr uint64_t kMaxChunks = 0xffff;

uint32_t NextChunk(uint64_t state) { return state & 0xffff; }
uint32_t NumChunks(uint64_t state) { return (state >> 16) & 0xffff; }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready` or until kSpinTime is over; returns whether it became ready.
template <typename Predicate>
bool SpinUntil(Predicate ready) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (ready()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

void FutexWait(std::atomic<uint32_t>* word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWake(std::atomic<uint32_t>* word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  QUARTET_CHECK(num_threads >= 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { WorkerMain(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_word_.fetch_add(1);
  FutexWake(&wake_word_, INT_MAX);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t num_chunks, Body body) {
  if (num_chunks <= 0) return;
  if (num_chunks == 1 || workers_.empty()) {
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) body(chunk, 0);
    return;
  }
  if (num_chunks <= static_cast<int64_t>(kMaxChunks)) {
    RunLoop(static_cast<uint32_t>(num_chunks), body);
    return;
  }
  const int64_t per_group = (num_chunks + kMaxChunks - 1) / kMaxChunks;
  const auto run_group = [&](int64_t group, int thread) {
    const int64_t end = std::min(num_chunks, (group + 1) * per_group);
    for (int64_t chunk = group * per_group; chunk < end; ++chunk) body(chunk, thread);
  };
  RunLoop(static_cast<uint32_t>((num_chunks + per_group - 1) / per_group), run_group);
}

void ThreadPool::ParallelForRange(
    int64_t size, int64_t grain,
    absl::FunctionRef<void(int64_t begin, int64_t end, int thread)> body) {
  if (size <= 0) return;
  if (size <= grain) {
    body(0, size, 0);
    return;
  }
  ParallelFor((size + grain - 1) / grain, [&](int64_t chunk, int thread) {
    body(chunk * grain, std::min(size, (chunk + 1) * grain), thread);
  });
}

void ThreadPool::RunLoop(uint32_t num_chunks, const Body& body) {
  std::lock_guard<std::mutex> lock(one_loop_);
  body_.store(&body, std::memory_order_relaxed);
  chunks_done_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = (state_.load(std::memory_order_relaxed) >> 32) + 1;
  state_.store(epoch << 32 | static_cast<uint64_t>(num_chunks) << 16);  // publishes body_
  if (num_sleepers_.load() > 0) {
    wake_word_.fetch_add(1);
    FutexWake(&wake_word_, static_cast<int>(num_chunks) - 1);
  }
  TakeChunks(0);
  WaitForChunks(num_chunks);
}

void ThreadPool::TakeChunks(int thread) {
  uint64_t state = state_.load();
  while (NextChunk(state) < NumChunks(state)) {
    const Body* body = body_.load(std::memory_order_relaxed);
    if (!state_.compare_exchange_weak(state, state + 1)) continue;
    (*body)(NextChunk(state), thread);
    // The loop may end with this addition; nothing of it may be touched afterwards.
    const uint32_t num_chunks = NumChunks(state);
    if (chunks_done_.fetch_add(1) + 1 == num_chunks && caller_sleeps_.load() != 0) {
      FutexWake(&chunks_done_, 1);
    }
    state = state_.load();
  }
}

bool ThreadPool::HasChunk() const {
  const uint64_t state = state_.load();
  return NextChunk(state) < NumChunks(state);
}

void ThreadPool::WaitForChunks(uint32_t num_chunks) {
  const auto all_done = [&] { return chunks_done_.load() == num_chunks; };
  if (SpinUntil(all_done)) return;
  caller_sleeps_.store(1);
  for (uint32_t done = chunks_done_.load(); done != num_chunks; done = chunks_done_.load()) {
    FutexWait(&chunks_done_, done);
  }
  caller_sleeps_.store(0);
}

void ThreadPool::WorkerMain(int thread) {
  while (!stop_.load()) {
    if (SpinUntil([this] { return HasChunk(); })) {
      TakeChunks(thread);
    } else {
      SleepUntilWork();
    }
  }
}

void ThreadPool::SleepUntilWork() {
  const uint32_t word = wake_word_.load();
  num_sleepers_.fetch_add(1);
  // Looked at again after the count is up: a loop published before this sees no sleeper, one
  // published after it wakes us.
  if (!HasChunk() && !stop_.load()) FutexWait(&wake_word_, word);
  num_sleepers_.fetch_sub(1);
}

}  // namespace quartet::kernels::cpu
