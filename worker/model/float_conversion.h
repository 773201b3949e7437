// Conversions between the number formats of files and ours. Sources are bytes of a file: little
// endian, of any alignment.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/bfloat16.h"

namespace quartet::model {

static_assert(std::endian::native == std::endian::little, "model files are little endian");

template <typename T>
inline T LoadAs(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// IEEE 754 half to single; exact. No branches, so that loops vectorise.
inline float Float16ToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  // As a single whose exponent is too small by 112; the product is exact, also for subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;  // infinity or NaN
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

inline void Float16ToFloat32(const uint8_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = Float16ToFloat(LoadAs<uint16_t>(from + 2 * i));
}

inline void Bfloat16ToFloat32(const uint8_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = kernels::ToFloat({LoadAs<uint16_t>(from + 2 * i)});
  }
}

inline void Float16ToBfloat16(const uint8_t* from, int64_t count, kernels::bfloat16* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = kernels::ToBfloat16(Float16ToFloat(LoadAs<uint16_t>(from + 2 * i)));
  }
}

inline void Float32ToBfloat16(const uint8_t* from, int64_t count, kernels::bfloat16* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = kernels::ToBfloat16(LoadAs<float>(from + 4 * i));
}

}  // namespace quartet::model
