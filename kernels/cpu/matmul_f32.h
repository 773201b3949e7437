// Product of f32 rows with one panel of bf16 weights, expanded on the fly. Written on vector.h,
// compiled once per instruction set.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

// A tile's sums fill the registers: many rows times two vectors of columns, or, for few rows, all
// columns of the panel, so that it is read in one pass and enough sums are under way.
constexpr int kTileRowsF32 = kLanes == 16 ? 12 : 6;
constexpr int kPanelVectors = kPanelColumns / kLanes;
constexpr int kFewRows = 2;

// Columns [column, column + kVectors * kLanes) of the panel; those beyond args.cols are padding and
// not stored.
template <int kRows, int kVectors>
QUARTET_INLINE void MatmulColumnsF32(const MatmulPanelArgs<float>& args, const float* x, float* out,
                                     int column) {
  F32 sums[kRows][kVectors] = {};
  const uint16_t* panel = args.panel + 2 * column;
  for (int64_t pair = 0; pair < args.num_pairs; ++pair, panel += 2 * kPanelColumns) {
    U32 weights[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) weights[v] = LoadPairs(panel + 2 * kLanes * v);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const F32 value = Set(x[r * args.x_stride + 2 * pair]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Fma(value, First(weights[v]), sums[r][v]);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const F32 value = Set(x[r * args.x_stride + 2 * pair + 1]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Fma(value, Second(weights[v]), sums[r][v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int first = column + v * kLanes;
      Store(out + r * args.out_stride + first, sums[r][v], args.cols - first);
    }
  }
}

template <int kRows>
void MatmulTileF32(const MatmulPanelArgs<float>& args, const float* x, float* out) {
  static_assert(kTileRowsF32 <= PathCounters::kMaxTileRows);
  if (args.paths != nullptr) CountPath(&args.paths->matmul_f32_tiles[kRows]);
  constexpr int kVectors = kRows <= kFewRows ? kPanelVectors : 2;
  for (int column = 0; column < args.cols; column += kVectors * kLanes) {
    MatmulColumnsF32<kRows, kVectors>(args, x, out, column);
  }
}

template <int kRows>
void MatmulRowsF32(const MatmulPanelArgs<float>& args, int64_t row) {
  for (; args.rows - row >= kRows; row += kRows) {
    MatmulTileF32<kRows>(args, args.x + row * args.x_stride, args.out + row * args.out_stride);
  }
  // Three or four rows with two vectors would keep too few sums under way.
  constexpr int kNextRows = kRows == 5 && kPanelVectors > 2 ? kFewRows : kRows - 1;
  if constexpr (kRows > 1) MatmulRowsF32<kNextRows>(args, row);
}

void MatmulF32(const MatmulPanelArgs<float>& args) { MatmulRowsF32<kTileRowsF32>(args, 0); }

}  // namespace
}  // namespace quartet::kernels::cpu
