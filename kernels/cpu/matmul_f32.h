// Product of f32 rows with one panel of bf16 weights, expanded on the fly. Written on vector.h,
// compiled once per instruction set.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

// Rows per tile: two vectors of sums a row, as many as the registers hold.
constexpr int kTileRowsF32 = kLanes == 16 ? 12 : 6;

template <int kRows>
void MatmulTileF32(const MatmulPanelArgs<float>& args, const float* x, float* out) {
  for (int column = 0; column < args.cols; column += 2 * kLanes) {
    const int count0 = args.cols - column;
    const int count1 = count0 - kLanes;
    F32 sums[kRows][2] = {};
    const uint16_t* panel = args.panel + 2 * column;
    for (int64_t pair = 0; pair < args.num_pairs; ++pair, panel += 2 * kPanelColumns) {
      const U32 w0 = LoadPairs(panel);
      const U32 w1 = LoadPairs(panel + 2 * kLanes);
      const F32 first0 = First(w0), first1 = First(w1);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const F32 v = Set(x[r * args.x_stride + 2 * pair]);
        sums[r][0] = Fma(v, first0, sums[r][0]);
        sums[r][1] = Fma(v, first1, sums[r][1]);
      }
      const F32 second0 = Second(w0), second1 = Second(w1);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const F32 v = Set(x[r * args.x_stride + 2 * pair + 1]);
        sums[r][0] = Fma(v, second0, sums[r][0]);
        sums[r][1] = Fma(v, second1, sums[r][1]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      Store(out + r * args.out_stride + column, sums[r][0], count0);
      if (count1 > 0) Store(out + r * args.out_stride + column + kLanes, sums[r][1], count1);
    }
  }
}

template <int kRows>
void MatmulRowsF32(const MatmulPanelArgs<float>& args, int64_t row) {
  const int64_t rest = args.rows - row;
  if (rest >= kRows) {
    MatmulTileF32<kRows>(args, args.x + row * args.x_stride, args.out + row * args.out_stride);
    row += kRows;
    if (rest > kRows) MatmulRowsF32<kRows>(args, row);
  } else if constexpr (kRows > 1) {
    MatmulRowsF32<kRows - 1>(args, row);
  }
}

void MatmulF32(const MatmulPanelArgs<float>& args) { MatmulRowsF32<kTileRowsF32>(args, 0); }

}  // namespace
}  // namespace quartet::kernels::cpu
