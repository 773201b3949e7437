// A fixed set of threads that run the chunks of one loop at a time. Chunks are taken from a
// counter, so a thread that the system does not schedule holds nobody up: the others, the caller
// among them, take its share.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace quartet::kernels::cpu {

// Thread-safe; loops of different callers run one after the other. A thread without work spins for
// some microseconds and then sleeps in the kernel, so an idle pool costs nothing.
class ThreadPool {
 public:
  // `num_threads` counts the caller of ParallelFor. REQUIRES: num_threads >= 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(chunk, thread) once for every chunk in [0, num_chunks), in any order and on any
  // thread, and returns when all are done. `thread` is in [0, num_threads()) and differs between
  // bodies that run at the same time; 0 is the caller. REQUIRES: not called from inside a body.
  void ParallelFor(int64_t num_chunks, absl::FunctionRef<void(int64_t chunk, int thread)> body);

  // As above for the index range [0, size) in chunks of at most `grain` indices: body(begin, end,
  // thread).
  void ParallelForRange(int64_t size, int64_t grain,
                        absl::FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

 private:
  using Body = absl::FunctionRef<void(int64_t chunk, int thread)>;

  void RunLoop(uint32_t num_chunks, const Body& body);
  void WorkerMain(int thread);
  // Takes and runs chunks until none is left.
  void TakeChunks(int thread);
  bool HasChunk() const;
  void SleepUntilWork();
  void WaitForChunks(uint32_t num_chunks);

  std::mutex one_loop_;
  // Epoch (32 bits) | number of chunks (16) | next chunk (16). A chunk is taken by compare-and-swap
  // on the whole word; while a chunk of an epoch is untaken its loop can't end, so whoever takes it
  // has read that epoch's body_.
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<const Body*> body_{nullptr};
  alignas(64) std::atomic<uint32_t> chunks_done_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  alignas(64) std::atomic<uint32_t> wake_word_{0};
  std::atomic<uint32_t> num_sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace quartet::kernels::cpu
