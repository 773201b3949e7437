// A loop of nothing but vdpbf16ps; compiled with AVX-512 flags of its own.
#pragma once

#include <cstdint>

namespace quartet::bench {

// 12 independent instructions of 32 products and 32 sums.
constexpr double kFlopsPerRound = 12.0 * 64;

void RunBf16Products(int64_t rounds);

}  // namespace quartet::bench
