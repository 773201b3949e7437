#include "cli/arrival_schedule.h"

#include <cmath>
#include <random>

namespace quartet::cli {

std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed) {
  // std::exponential_distribution may differ between libraries; the engine may not.
  std::mt19937_64 engine(seed);
  std::vector<double> arrivals;
  double now = 0;
  for (int i = 0; i < count; ++i) {
    const double uniform = static_cast<double>(engine() >> 11) * 0x1p-53;  // [0, 1)
    now += -std::log1p(-uniform) / rate;
    arrivals.push_back(now);
  }
  return arrivals;
}

std::vector<uint32_t> RandomPrompt(int count, uint32_t limit, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<uint32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(static_cast<uint32_t>(engine() % limit));
  return ids;
}

}  // namespace quartet::cli
