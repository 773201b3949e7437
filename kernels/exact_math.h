// exp and log from plain products and sums, so that a sampled token depends on the source and not
// on a machine's libm. Every operation rounds once: compile without contraction (-ffp-contract=off,
// nvcc -fmad=false). No fma on purpose: CPUs without it would call libm for each.
#pragma once

#include <bit>
#include <cstdint>

namespace quartet::kernels {

// e^x for x <= 88. Below -87.3, where the result would be subnormal, and for NaN: 0. Relative error
// under 2e-7.
// Reduction and polynomial as in Cephes' expf (Moshier). Always inline: callers are compiled for
// several instruction sets.
inline __attribute__((always_inline)) float ExactExp(float x) {
  const float clamped = x >= -87.3f ? x : -87.3f;
  // Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits.
  const float shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float mantissa = p * (r * r) + r + 1.0f;
  const uint32_t scale = (std::bit_cast<uint32_t>(shifted) + 127u) << 23;
  const float result = mantissa * std::bit_cast<float>(scale);
  return x >= -87.3f ? result : 0.0f;
}

// Natural logarithm of a positive normal number; relative error under 1e-15.
inline double ExactLog(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (mantissa > 1.41421356237309505) {
    mantissa *= 0.5;
    exponent += 1;
  }
  // log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double s2 = s * s;
  double series = 1.0 / 23.0;
  for (int k = 21; k >= 1; k -= 2) series = series * s2 + 1.0 / k;
  return exponent * 0.69314718055994530942 + 2.0 * s * series;
}

}  // namespace quartet::kernels
