// When the requests of an open-loop load arrive.
#pragma once

#include <cstdint>
#include <vector>

namespace quartet::cli {

// `count` arrival times in seconds from the start, ascending: a Poisson process of `rate` arrivals
// a second. The same seed gives the same times on every machine.
std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed);

// `count` token ids from [0, limit), for a prompt that no other request shares.
std::vector<uint32_t> RandomPrompt(int count, uint32_t limit, uint64_t seed);

}  // namespace quartet::cli
