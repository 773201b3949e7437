// Kernels on single rows: conversions, RMSNorm, SwiGLU, rotation. Written on vector.h, compiled
// once per instruction set.
#pragma once

#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

void ExpandBf16(const uint16_t* in, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i += kLanes) Store(out + i, LoadBf16(in + i, size - i), size - i);
}

void RoundToBf16(const float* in, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i += kLanes) StoreBf16(out + i, Load(in + i, size - i), size - i);
}

QUARTET_INLINE void StoreRow(uint16_t* out_bf16, float* out_f32, int64_t i, F32 v, int64_t count) {
  if (out_bf16 != nullptr) {
    StoreBf16(out_bf16 + i, v, count);
  } else {
    Store(out_f32 + i, v, count);
  }
}

void AddRmsNormRow(float* residual, const float* delta, const float* weight, float epsilon,
                   int64_t size, uint16_t* out_bf16, float* out_f32) {
  // Four sums, so that the additions' latency doesn't count.
  F32 sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      F32 v = Load(residual + i + j * kLanes);
      if (delta != nullptr) {
        v += Load(delta + i + j * kLanes);
        Store(residual + i + j * kLanes, v);
      }
      sums[j] = Fma(v, v, sums[j]);
    }
  }
  for (; i < size; i += kLanes) {
    F32 v = Load(residual + i, size - i);
    if (delta != nullptr) {
      v += Load(delta + i, size - i);
      Store(residual + i, v, size - i);
    }
    sums[0] = Fma(v, v, sums[0]);
  }
  const float sum = ReduceAdd((sums[0] + sums[1]) + (sums[2] + sums[3]));
  const F32 inverse = Set(1.0f / __builtin_sqrtf(sum / static_cast<float>(size) + epsilon));
  for (i = 0; i < size; i += kLanes) {
    const F32 v = Load(residual + i, size - i) * inverse * Load(weight + i, size - i);
    StoreRow(out_bf16, out_f32, i, v, size - i);
  }
}

void SwigluRow(const float* gate, const float* up, int64_t size, uint16_t* out_bf16,
               float* out_f32) {
  for (int64_t i = 0; i < size; i += kLanes) {
    const F32 g = Load(gate + i, size - i);
    const F32 silu = g / (Set(1.0f) + Exp(-g));
    StoreRow(out_bf16, out_f32, i, silu * Load(up + i, size - i), size - i);
  }
}

void RotateRow(const float* in, const float* bias, const float* cos, const float* sin, int half,
               float* out) {
  for (int i = 0; i < half; i += kLanes) {
    const int count = half - i;
    F32 a = Load(in + i, count);
    F32 b = Load(in + half + i, count);
    if (bias != nullptr) {
      a += Load(bias + i, count);
      b += Load(bias + half + i, count);
    }
    const F32 c = Load(cos + i, count);
    const F32 s = Load(sin + i, count);
    Store(out + i, Fma(-b, s, a * c), count);
    Store(out + half + i, Fma(a, s, b * c), count);
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
