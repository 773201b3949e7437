#include "kernels/cpu/logits_scan.h"

#include <algorithm>
#include <limits>

#include "kernels/exact_math.h"

namespace quartet::kernels::cpu {
namespace {

#define QUARTET_INLINE inline __attribute__((always_inline))

constexpr int kLanes = 16;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

QUARTET_INLINE float Larger(float value, float than) { return value > than ? value : than; }

// The bodies below are written as loops over 16 lanes without a carried dependency, which the
// compiler turns into vectors of whatever width the target has.
QUARTET_INLINE float BlockMaximum(const float* v) {
  float lanes[kLanes];
  for (int j = 0; j < kLanes; ++j) {
    const float a = Larger(v[j], Larger(v[kLanes + j], kNothing));
    const float b = Larger(v[2 * kLanes + j], Larger(v[3 * kLanes + j], kNothing));
    lanes[j] = Larger(a, b);
  }
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) lanes[j] = Larger(lanes[j], lanes[width + j]);
  }
  return lanes[0];
}

QUARTET_INLINE float BlockWeightSum(const float* v, float max, float inverse_temperature) {
  float weights[kScanBlock];
  for (int j = 0; j < kScanBlock; ++j) weights[j] = ExactExp((v[j] - max) * inverse_temperature);
  for (int width = kScanBlock / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) weights[j] += weights[width + j];
  }
  return weights[0];
}

// Copies the last, short block and fills it up with what changes nothing.
QUARTET_INLINE void CopyTail(const float* values, int64_t begin, int64_t count, float* block) {
  for (int64_t j = 0; j < kScanBlock; ++j) {
    block[j] = begin + j < count ? values[begin + j] : kNothing;
  }
}

QUARTET_INLINE void MaximaBody(const float* values, int64_t count, float* maxima) {
  const int64_t whole = count / kScanBlock;
  for (int64_t b = 0; b < whole; ++b) maxima[b] = BlockMaximum(values + b * kScanBlock);
  if (whole * kScanBlock == count) return;
  float tail[kScanBlock];
  CopyTail(values, whole * kScanBlock, count, tail);
  maxima[whole] = BlockMaximum(tail);
}

// A block without anything, as most are under a mask, weighs nothing.
QUARTET_INLINE void WeightSumsBody(const float* values, int64_t count, const float* maxima,
                                   float max, float inverse_temperature, float* sums) {
  const int64_t whole = count / kScanBlock;
  for (int64_t b = 0; b < whole; ++b) {
    sums[b] = maxima[b] > kNothing
                  ? BlockWeightSum(values + b * kScanBlock, max, inverse_temperature)
                  : 0;
  }
  if (whole * kScanBlock == count) return;
  float tail[kScanBlock];
  CopyTail(values, whole * kScanBlock, count, tail);
  sums[whole] = BlockWeightSum(tail, max, inverse_temperature);
}

// Word by word of the mask: most words of most masks are all ones or all zeros.
QUARTET_INLINE void CopyAllowedBody(const float* values, int64_t count, const uint32_t* mask,
                                    int64_t num_words, float* out) {
  constexpr int64_t kBits = 32;
  const int64_t whole = std::min(count / kBits, num_words);
  for (int64_t w = 0; w < whole; ++w) {
    const uint32_t word = mask[w];
    const float* const from = values + w * kBits;
    float* const to = out + w * kBits;
    if (word == 0) {
      for (int64_t j = 0; j < kBits; ++j) to[j] = kNothing;
    } else if (word == ~0u) {
      for (int64_t j = 0; j < kBits; ++j) to[j] = from[j];
    } else {
      for (int64_t j = 0; j < kBits; ++j) to[j] = (word >> j & 1) != 0 ? from[j] : kNothing;
    }
  }
  for (int64_t i = whole * kBits; i < count; ++i) {
    const bool allowed = i / kBits < num_words && (mask[i / kBits] >> (i % kBits) & 1) != 0;
    out[i] = allowed ? values[i] : kNothing;
  }
}

QUARTET_INLINE int64_t CountGreaterBody(const float* values, int64_t count, float threshold) {
  int64_t total = 0;
  for (int64_t begin = 0; begin < count; begin += 1 << 20) {
    const int64_t end = std::min<int64_t>(count, begin + (1 << 20));
    int32_t greater = 0;
    for (int64_t i = begin; i < end; ++i) greater += values[i] > threshold ? 1 : 0;
    total += greater;
  }
  return total;
}

struct ScanTable {
  void (*maxima)(const float*, int64_t, float*);
  void (*weight_sums)(const float*, int64_t, const float*, float, float, float*);
  void (*copy_allowed)(const float*, int64_t, const uint32_t*, int64_t, float*);
  int64_t (*count_greater)(const float*, int64_t, float);
};

#define QUARTET_DEFINE_SCANS(name, attributes)                                                 \
  attributes void Maxima##name(const float* values, int64_t count, float* maxima) {            \
    MaximaBody(values, count, maxima);                                                         \
  }                                                                                            \
  attributes void WeightSums##name(const float* values, int64_t count, const float* maxima,    \
                                   float max, float inverse_temperature, float* sums) {        \
    WeightSumsBody(values, count, maxima, max, inverse_temperature, sums);                     \
  }                                                                                            \
  attributes void CopyAllowed##name(const float* values, int64_t count, const uint32_t* mask,  \
                                    int64_t num_words, float* out) {                           \
    CopyAllowedBody(values, count, mask, num_words, out);                                      \
  }                                                                                            \
  attributes int64_t CountGreater##name(const float* values, int64_t count, float threshold) { \
    return CountGreaterBody(values, count, threshold);                                         \
  }                                                                                            \
  constexpr ScanTable k##name##Scans = {Maxima##name, WeightSums##name, CopyAllowed##name,     \
                                        CountGreater##name};

QUARTET_DEFINE_SCANS(Portable, )
#if defined(__x86_64__)
QUARTET_DEFINE_SCANS(Avx2, __attribute__((target("avx2"))))
QUARTET_DEFINE_SCANS(Avx512, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,"
                                                   "prefer-vector-width=512"))))
#endif

const ScanTable& Scans() {
#if defined(__x86_64__)
  static const ScanTable& table =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
          ? kAvx512Scans
      : __builtin_cpu_supports("avx2") ? kAvx2Scans
                                       : kPortableScans;
  return table;
#else
  return kPortableScans;
#endif
}

}  // namespace

void ScanMaxima(const float* values, int64_t count, float* maxima) {
  Scans().maxima(values, count, maxima);
}

void ScanWeightSums(const float* values, int64_t count, const float* maxima, float max,
                    float inverse_temperature, float* sums) {
  Scans().weight_sums(values, count, maxima, max, inverse_temperature, sums);
}

void CopyAllowed(const float* values, int64_t count, std::span<const uint32_t> mask, float* out) {
  Scans().copy_allowed(values, count, mask.data(), static_cast<int64_t>(mask.size()), out);
}

int64_t CountGreater(const float* values, int64_t count, float threshold) {
  return Scans().count_greater(values, count, threshold);
}

}  // namespace quartet::kernels::cpu
