// bfloat16: the upper half of a float32. A type of our own, because the toolkit's lacks host
// arithmetic.
#pragma once

#include <bit>
#include <cstdint>

namespace quartet::kernels {

struct bfloat16 {
  uint16_t bits;
};
static_assert(sizeof(bfloat16) == 2);

inline float ToFloat(bfloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
inline bfloat16 ToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace quartet::kernels
