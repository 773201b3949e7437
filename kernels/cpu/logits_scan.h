// Passes over one row of logits in blocks of 64: the only parts of the sampler that touch every
// element. Compiled for several instruction sets; the order of operations, and so the bits, are the
// same for all. NaN counts as minus infinity.
#pragma once

#include <cstdint>
#include <span>

namespace quartet::kernels::cpu {

inline constexpr int64_t kScanBlock = 64;

inline constexpr int64_t NumScanBlocks(int64_t count) {
  return (count + kScanBlock - 1) / kScanBlock;
}

// maxima[b] = the largest of block b; minus infinity if it has no number.
void ScanMaxima(const float* values, int64_t count, float* maxima);

// sums[b] = sum over block b of ExactExp((value - max) * inverse_temperature). `maxima` are those
// of ScanMaxima; blocks whose maximum is minus infinity give 0.
void ScanWeightSums(const float* values, int64_t count, const float* maxima, float max,
                    float inverse_temperature, float* sums);

// out[i] = values[i] where bit i of `mask` is set, else minus infinity. Ids beyond the mask's end
// are not allowed.
void CopyAllowed(const float* values, int64_t count, std::span<const uint32_t> mask, float* out);

// How many values are greater than `threshold`.
int64_t CountGreater(const float* values, int64_t count, float threshold);

}  // namespace quartet::kernels::cpu
