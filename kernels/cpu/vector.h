// The vector that the kernels of one instruction set compute with: 16, 8 or 4 floats. Included only
// by the *_kernels.cc files, each compiled with its own flags; everything is in an unnamed
// namespace, and nothing from the standard library's inline functions is used, so that no code with
// AVX instructions can be linked into the rest.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace quartet::kernels::cpu {
namespace {

#if defined(__AVX512BF16__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F32 __attribute__((vector_size(kLanes * 4)));
typedef uint32_t U32 __attribute__((vector_size(kLanes * 4)));
typedef uint16_t U16 __attribute__((vector_size(kLanes * 2)));
typedef float UnalignedF32 __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint32_t UnalignedU32 __attribute__((vector_size(kLanes * 4), aligned(2), may_alias));
typedef uint16_t UnalignedU16 __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

#define QUARTET_INLINE __attribute__((always_inline)) inline

// Subtracting 0 changes no value and costs nothing; adding 0 would have to turn -0 into 0.
QUARTET_INLINE F32 Set(float value) { return value - F32{}; }
QUARTET_INLINE F32 Load(const float* p) { return *reinterpret_cast<const UnalignedF32*>(p); }
QUARTET_INLINE void Store(float* p, F32 v) { *reinterpret_cast<UnalignedF32*>(p) = v; }

// The first `count` lanes; the others are zero.
QUARTET_INLINE F32 Load(const float* p, int64_t count) {
  if (count >= kLanes) return Load(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return Load(lanes);
}
QUARTET_INLINE void Store(float* p, F32 v, int64_t count) {
  if (count >= kLanes) return Store(p, v);
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

// a * b + c, rounded once where the instruction set can.
QUARTET_INLINE F32 Fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512BF16__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// A NaN in `a` stays.
QUARTET_INLINE F32 Max(F32 a, F32 b) { return a < b ? b : a; }

// Sums and maxima across lanes, always in the same tree.
QUARTET_INLINE float ReduceAdd(F32 v) {
  float lanes[kLanes];
  Store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
QUARTET_INLINE float ReduceMax(F32 v) {
  float lanes[kLanes];
  Store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      if (lanes[i] < lanes[i + width]) lanes[i] = lanes[i + width];
    }
  }
  return lanes[0];
}

// Lane numbers 0, 1, 2, ...
QUARTET_INLINE U32 LaneNumbers() {
  U32 v = {};
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<uint32_t>(i);
  return v;
}
// `v` in the first `count` lanes, `other` in the rest.
QUARTET_INLINE F32 FirstLanes(F32 v, F32 other, int64_t count) {
  if (count >= kLanes) return v;
  const U32 limit = U32{} + static_cast<uint32_t>(count < 0 ? 0 : count);
  return LaneNumbers() < limit ? v : other;
}

// kLanes pairs of bf16, and their first and second elements as floats.
QUARTET_INLINE U32 LoadPairs(const uint16_t* p) {
  return *reinterpret_cast<const UnalignedU32*>(p);
}
QUARTET_INLINE U32 LoadPairs(const uint16_t* p, int64_t count) {
  if (count >= kLanes) return LoadPairs(p);
  uint16_t lanes[2 * kLanes] = {};
  for (int64_t i = 0; i < 2 * count; ++i) lanes[i] = p[i];
  return LoadPairs(lanes);
}
QUARTET_INLINE F32 First(U32 pairs) { return reinterpret_cast<F32>(pairs << 16); }
QUARTET_INLINE F32 Second(U32 pairs) { return reinterpret_cast<F32>(pairs & 0xffff0000u); }

QUARTET_INLINE F32 LoadBf16(const uint16_t* p) {
  const U16 v = *reinterpret_cast<const UnalignedU16*>(p);
  return reinterpret_cast<F32>(__builtin_convertvector(v, U32) << 16);
}
QUARTET_INLINE F32 LoadBf16(const uint16_t* p, int64_t count) {
  if (count >= kLanes) return LoadBf16(p);
  uint16_t lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return LoadBf16(lanes);
}
// Rounds to nearest, ties to even; a NaN stays a NaN.
QUARTET_INLINE void StoreBf16(uint16_t* p, F32 v) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
#else
  const U32 bits = reinterpret_cast<U32>(v);
  const U32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32 nan = (bits >> 16) | 0x40u;
  const U32 result = (bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
  *reinterpret_cast<UnalignedU16*>(p) = __builtin_convertvector(result, U16);
#endif
}
QUARTET_INLINE void StoreBf16(uint16_t* p, F32 v, int64_t count) {
  if (count >= kLanes) return StoreBf16(p, v);
  uint16_t lanes[kLanes];
  StoreBf16(lanes, v);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

// The larger of `bound` and v, the smaller of them; a NaN in v stays.
QUARTET_INLINE F32 AtLeast(float bound, F32 v) {
#if defined(__AVX512BF16__)
  return _mm512_max_ps(Set(bound), v);
#elif defined(__AVX2__)
  return _mm256_max_ps(Set(bound), v);
#else
  return v < Set(bound) ? Set(bound) : v;
#endif
}
QUARTET_INLINE F32 AtMost(float bound, F32 v) {
#if defined(__AVX512BF16__)
  return _mm512_min_ps(Set(bound), v);
#elif defined(__AVX2__)
  return _mm256_min_ps(Set(bound), v);
#else
  return v > Set(bound) ? Set(bound) : v;
#endif
}

// exp(x) within 2 ulp for x in [-87.3, 88.3]; below that the value at the border. NaN gives NaN.
// REQUIRES: x <= 88.3. The polynomial is Cephes' expf (Moshier 1989).
QUARTET_INLINE F32 ExpBounded(F32 x) {
  x = AtLeast(-87.3f, x);
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
  const F32 magic = Set(12582912.0f);
  const F32 shifted = Fma(x, Set(1.44269504088896341f), magic);
  const F32 n = shifted - magic;
  F32 r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440e-4f), r);
  F32 y = Set(1.9875691500e-4f);
  y = Fma(y, r, Set(1.3981999507e-3f));
  y = Fma(y, r, Set(8.3334519073e-3f));
  y = Fma(y, r, Set(4.1665795894e-2f));
  y = Fma(y, r, Set(1.6666665459e-1f));
  y = Fma(y, r, Set(5.0000001201e-1f));
  y = Fma(y, r * r, r) + Set(1.0f);
#if defined(__AVX512BF16__)
  return _mm512_scalef_ps(y, n);
#else
  const U32 exponent = reinterpret_cast<U32>(shifted) - reinterpret_cast<U32>(magic) + 127u;
  return y * reinterpret_cast<F32>(exponent << 23);
#endif
}

// As above for any x.
QUARTET_INLINE F32 Exp(F32 x) { return ExpBounded(AtMost(88.3f, x)); }

}  // namespace
}  // namespace quartet::kernels::cpu
