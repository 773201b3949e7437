// Product of bf16 rows with one panel of bf16 weights by vdpbf16ps. Included by avx512_kernels.cc
// only.
#pragma once

#include <utility>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

// 28 sums, two vectors of weights, one broadcast pair of x: 31 of 32 registers.
constexpr int kTileRowsBf16 = 14;

QUARTET_INLINE __m512bh LoadBh(const uint16_t* p) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
}
// One pair of bf16 in all lanes.
QUARTET_INLINE __m512bh SetPair(const uint16_t* p) {
  int32_t pair;
  memcpy(&pair, p, sizeof(pair));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

// What a tile fetches ahead of its use. One tile alone streams as fast as memory gives. With
// several, the first meets the panel in memory or in the second-level cache, and during the last,
// memory would be idle.
enum class Prefetch { kNothing, kOwnPanel, kNextPanel };

constexpr int kOwnPanelDistance = 1024;  // elements

template <int kRows, Prefetch kPrefetch>
void MatmulTileBf16(const MatmulPanelArgs<uint16_t>& args, const uint16_t* x, float* out) {
  static_assert(kTileRowsBf16 <= PathCounters::kMaxTileRows);
  if (args.paths != nullptr) {
    CountPath(&args.paths->matmul_bf16_tiles[static_cast<int>(kPrefetch)][kRows]);
  }
  const __mmask16 mask0 = args.cols >= 16 ? 0xffff : (1u << args.cols) - 1;
  const __mmask16 mask1 =
      args.cols <= 16 ? 0 : static_cast<__mmask16>((1u << (args.cols - 16)) - 1);
  const int64_t x_stride = args.x_stride;
  const int64_t out_stride = args.out_stride;
  __m512 sums[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    sums[r][0] = _mm512_setzero_ps();
    sums[r][1] = _mm512_setzero_ps();
  }
  const uint16_t* panel = args.panel;
  const int64_t panel_elements = args.num_pairs * 2 * kPanelColumns;
  const uint16_t* const end = panel + panel_elements;
  for (; panel != end; panel += 2 * kPanelColumns, x += 2) {
    const __m512bh w0 = LoadBh(panel);
    const __m512bh w1 = LoadBh(panel + 32);
    if constexpr (kPrefetch == Prefetch::kOwnPanel) {
      _mm_prefetch(panel + kOwnPanelDistance, _MM_HINT_T0);
      _mm_prefetch(panel + kOwnPanelDistance + 32, _MM_HINT_T0);
    } else if constexpr (kPrefetch == Prefetch::kNextPanel) {
      // Panels, and a panel's segments, follow each other in memory. Behind the last one this
      // fetches in vain.
      _mm_prefetch(panel + panel_elements, _MM_HINT_T1);
      _mm_prefetch(panel + panel_elements + 32, _MM_HINT_T1);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m512bh v = SetPair(x + r * x_stride);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], w0, v);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], w1, v);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    _mm512_mask_storeu_ps(out + r * out_stride, mask0, sums[r][0]);
    _mm512_mask_storeu_ps(out + r * out_stride + 16, mask1, sums[r][1]);
  }
}

using MatmulTileFunction = void (*)(const MatmulPanelArgs<uint16_t>&, const uint16_t*, float*);

// Tiles of 1 to kTileRowsBf16 rows.
template <Prefetch kPrefetch, typename Rows>
struct MatmulTiles;
template <Prefetch kPrefetch, int... kIndex>
struct MatmulTiles<kPrefetch, std::integer_sequence<int, kIndex...>> {
  static constexpr MatmulTileFunction kFunctions[] = {MatmulTileBf16<kIndex + 1, kPrefetch>...};
};
template <Prefetch kPrefetch>
constexpr const MatmulTileFunction* kMatmulTiles =
    MatmulTiles<kPrefetch, std::make_integer_sequence<int, kTileRowsBf16>>::kFunctions;

void MatmulBf16(const MatmulPanelArgs<uint16_t>& args) {
  // Tiles of nearly equal height: a last tile of one row would wait for latency.
  const int64_t num_tiles = (args.rows + kTileRowsBf16 - 1) / kTileRowsBf16;
  int64_t row = 0;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t end = args.rows * (tile + 1) / num_tiles;
    const MatmulTileFunction* functions = kMatmulTiles<Prefetch::kNothing>;
    if (num_tiles > 1 && tile == 0) functions = kMatmulTiles<Prefetch::kOwnPanel>;
    if (num_tiles > 1 && tile + 1 == num_tiles) functions = kMatmulTiles<Prefetch::kNextPanel>;
    functions[end - row - 1](args, args.x + row * args.x_stride, args.out + row * args.out_stride);
    row = end;
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
