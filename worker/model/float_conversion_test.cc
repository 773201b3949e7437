#include "worker/model/float_conversion.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quartet::model {
namespace {

// By the definition of IEEE 754 binary16.
double HalfByDefinition(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int fraction = half & 1023;
  const double sign = half & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(FloatConversionTest, EveryHalfIsExact) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const double expected = HalfByDefinition(static_cast<uint16_t>(half));
    const float got = Float16ToFloat(static_cast<uint16_t>(half));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << half;
    } else {
      EXPECT_EQ(got, expected) << half;
      EXPECT_EQ(std::signbit(got), std::signbit(expected)) << half;
    }
  }
}

TEST(FloatConversionTest, SingleToBfloat16RoundsToNearestEven) {
  const struct {
    uint32_t single;
    uint16_t expected;
  } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80},  // a tie goes down to even
               {0x3f818000, 0x3f82},                        // a tie goes up to even
               {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80}, {0x7f7fffff, 0x7f80},  // overflows
               {0x80000001, 0x8000}, {0xff800000, 0xff80}};
  for (const auto& c : cases) {
    uint8_t bytes[5];
    std::memcpy(bytes + 1, &c.single, 4);  // unaligned on purpose
    kernels::bfloat16 got;
    Float32ToBfloat16(bytes + 1, 1, &got);
    EXPECT_EQ(got.bits, c.expected) << std::hex << c.single;
  }
}

}  // namespace
}  // namespace quartet::model
