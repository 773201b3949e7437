#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace quartet::kernels::cpu {
namespace {

TEST(ThreadPoolTest, EveryChunkRunsOnce) {
  for (int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (int64_t num_chunks : {0, 1, 2, 7, 1000, 200000}) {
      std::vector<std::atomic<int>> runs(num_chunks);
      pool.ParallelFor(num_chunks, [&](int64_t chunk, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, num_threads);
        runs[chunk].fetch_add(1);
      });
      for (const auto& run : runs) ASSERT_EQ(run.load(), 1);
    }
  }
}

TEST(ThreadPoolTest, WhatBodiesWriteIsThereAfterwards) {
  ThreadPool pool(3);
  std::vector<int64_t> values(64);
  for (int round = 0; round < 5000; ++round) {
    pool.ParallelFor(64, [&](int64_t chunk, int) { values[chunk] += chunk; });
  }
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(values[i], 5000 * i);
}

TEST(ThreadPoolTest, BodiesThatRunTogetherHaveDifferentThreadNumbers) {
  ThreadPool pool(4);
  std::vector<int64_t> counts(4 * 64);  // written without atomics: TSan sees a shared number
  pool.ParallelFor(10000, [&](int64_t, int thread) { ++counts[thread * 64]; });
  EXPECT_EQ(counts[0] + counts[64] + counts[128] + counts[192], 10000);
}

TEST(ThreadPoolTest, RangesAreCoveredWithoutOverlap) {
  ThreadPool pool(2);
  std::vector<int> runs(1001);
  pool.ParallelForRange(1001, 10, [&](int64_t begin, int64_t end, int) {
    EXPECT_LE(end - begin, 10);
    for (int64_t i = begin; i < end; ++i) ++runs[i];
  });
  EXPECT_EQ(runs, std::vector<int>(1001, 1));
}

TEST(ThreadPoolTest, CallersOnSeveralThreadsTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        pool.ParallelFor(5, [&](int64_t chunk, int) { sum.fetch_add(chunk); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 3 * 500 * 10);
}

// A thread that sleeps in a chunk for long makes the caller sleep too; and workers that slept wake
// up again.
TEST(ThreadPoolTest, SleepersAreWoken) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::atomic<bool> first_may_end = false;
    pool.ParallelFor(2, [&](int64_t chunk, int) {
      if (chunk == 0) {
        first_may_end.wait(false);
      } else {
        first_may_end = true;
        first_may_end.notify_all();
      }
    });
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
