// The sampler's own exp and log against the C library in double, and Philox against its authors'
// numbers.
#include "kernels/exact_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/philox.h"

namespace quartet::kernels {
namespace {

TEST(ExactMathTest, StaysCloseToTheTruth) {
  for (float x = -87.2f; x < 20; x += 0.00137f) {
    const double truth = std::exp(static_cast<double>(x));
    ASSERT_NEAR(ExactExp(x) / truth, 1.0, 2e-7) << x;
  }
  EXPECT_EQ(ExactExp(0.0f), 1.0f);
  EXPECT_EQ(ExactExp(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(ExactExp(std::nanf("")), 0.0f);
  for (double x = 1e-12; x < 1e12; x *= 1.0137) {
    ASSERT_NEAR(ExactLog(x), std::log(x), 1e-14 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
}

TEST(PhiloxTest, MatchesThePublishedVectors) {
  using Counter = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace quartet::kernels
