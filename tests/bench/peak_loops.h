// Loops that do one thing as fast as this CPU can; compiled with AVX-512 flags of their own, called
// only where it has them.
#pragma once

#include <cstdint>

namespace quartet::bench {

// 12 independent vdpbf16ps, each of 32 products and 32 sums.
constexpr double kFlopsPerRound = 12.0 * 64;

// Returns something that depends on them.
float RunBf16Products(int64_t rounds);

// Reads `bytes` (a multiple of 256) from `memory` on; returns something that depends on all of
// them.
uint64_t ReadMemory(const char* memory, int64_t bytes);

}  // namespace quartet::bench
