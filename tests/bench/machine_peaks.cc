#include "tests/bench/machine_peaks.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <numeric>
#include <thread>

#include "tests/bench/peak_loops.h"

namespace quartet::bench {
namespace {

clockid_t clock_in_use = CLOCK_MONOTONIC;
// Where the loops' results go, so that they can't be left out.
std::atomic<uint64_t> sink{0};

bool HasAvx512Bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

uint64_t Read(const char* memory, int64_t bytes) {
#if defined(__x86_64__)
  if (HasAvx512Bf16()) return ReadMemory(memory, bytes);
#endif
  const uint64_t* words = reinterpret_cast<const uint64_t*>(memory);
  return std::accumulate(words, words + bytes / 8, uint64_t{0});
}

template <typename Body>
void OnThreads(int num_threads, Body body) {
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; ++i) threads.emplace_back(body, i);
  body(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

std::string MachineName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

double PeakBf16FlopsPerSecond(int num_threads) {
  if (!HasAvx512Bf16()) return 0;
#if defined(__x86_64__)
  constexpr int64_t kRounds = 4'000'000;
  double best = 0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const double begin = Seconds();
    OnThreads(num_threads, [](int) { sink += RunBf16Products(kRounds) > 0; });
    const double flops = static_cast<double>(kRounds) * kFlopsPerRound * num_threads;
    best = std::max(best, flops / (Seconds() - begin));
  }
  return best;
#else
  return 0;
#endif
}

double ReadBytesPerSecond(const char* memory, int64_t bytes, int num_threads) {
  const int64_t part = bytes / num_threads / 256 * 256;
  const double begin = Seconds();
  OnThreads(num_threads, [&](int thread) { sink += Read(memory + thread * part, part); });
  return static_cast<double>(part) * num_threads / (Seconds() - begin);
}

double Seconds() {
  timespec now;
  clock_gettime(clock_in_use, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void UseProcessorTime() { clock_in_use = CLOCK_PROCESS_CPUTIME_ID; }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace quartet::bench
