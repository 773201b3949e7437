#include "tests/bench/machine_peaks.h"

#include <time.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "tests/bench/bf16_peak.h"

namespace quartet::bench {
namespace {

typedef uint64_t Lanes __attribute__((vector_size(32), may_alias));

clockid_t clock_in_use = CLOCK_MONOTONIC;

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
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bf16")) return 0;
  constexpr int64_t kRounds = 4'000'000;
  double best = 0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const double begin = Seconds();
    OnThreads(num_threads, [](int) { RunBf16Products(kRounds); });
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
  std::vector<uint64_t> sinks(num_threads * 8);
  const double begin = Seconds();
  OnThreads(num_threads, [&](int thread) {
    Lanes sums[4] = {};
    for (int64_t i = thread * part; i < (thread + 1) * part; i += 128) {
      for (int j = 0; j < 4; ++j) {
        sums[j] ^= *reinterpret_cast<const Lanes*>(memory + i + j * 32);
      }
    }
    sinks[thread * 8] = (sums[0] ^ sums[1] ^ sums[2] ^ sums[3])[0];
  });
  const double seconds = Seconds() - begin;
  // Depends on what was read, so that the reading can't be left out.
  return static_cast<double>(part) * num_threads / seconds + (sinks[0] == 1 ? 1e-9 : 0);
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
