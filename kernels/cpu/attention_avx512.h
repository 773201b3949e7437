// Attention over one split of a bf16 cache by vdpbf16ps: scores of 16 keys, and 16 dimensions of
// the result, are the lanes of a register. The probabilities are rounded to bf16 for the product
// with the values; their sum is not. Included by avx512_kernels.cc only.
#pragma once

#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul_avx512.h"
#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

// Rows times two registers of sums.
constexpr int kAttentionTileRows = 12;

// Scores of rows [0, kRows) against blocks `block` and `block` + kBlocks - 1.
template <int kRows, int kBlocks>
void ScoreTileBf16(const AttentionSplitArgs<uint16_t>& args, const uint16_t* q, int block,
                   float* scores) {
  const int64_t head_dim = args.head_dim;
  __m512 sums[kRows][kBlocks];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kBlocks; ++b) sums[r][b] = _mm512_setzero_ps();
  }
  const uint16_t* keys0 = args.keys[block];
  const uint16_t* keys1 = args.keys[block + kBlocks - 1];
  for (int64_t d = 0; d < head_dim; d += 2) {
    const __m512bh k0 = LoadBh(keys0 + d * kCacheTokens);
    const __m512bh k1 = LoadBh(keys1 + d * kCacheTokens);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512bh v = SetPair(q + r * head_dim + d);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], k0, v);
      if (kBlocks == 2) sums[r][kBlocks - 1] = _mm512_dpbf16_ps(sums[r][kBlocks - 1], k1, v);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kBlocks; ++b) {
      _mm512_storeu_ps(scores + r * kSplitTokens + (block + b) * kCacheTokens, sums[r][b]);
    }
  }
}

template <int kRows>
void ScoreRowsBf16(const AttentionSplitArgs<uint16_t>& args, int row) {
  const int blocks = (args.max_visible + kCacheTokens - 1) / kCacheTokens;
  const uint16_t* q = args.q + static_cast<int64_t>(row) * args.head_dim;
  float* scores = args.scores + row * kSplitTokens;
  if (args.paths != nullptr) {
    if (blocks >= 2) CountPath(&args.paths->attention_score_pairs[kRows]);
    if (blocks % 2 != 0) CountPath(&args.paths->attention_score_singles[kRows]);
  }
  int block = 0;
  for (; block + 2 <= blocks; block += 2) ScoreTileBf16<kRows, 2>(args, q, block, scores);
  if (block < blocks) ScoreTileBf16<kRows, 1>(args, q, block, scores);
}

// acc = probabilities times values, for rows from `row` on.
template <int kRows>
void ValueRowsBf16(const AttentionSplitArgs<uint16_t>& args, int row) {
  static_assert(kAttentionTileRows <= PathCounters::kMaxTileRows);
  if (args.paths != nullptr) {
    CountPath(&args.paths->attention_value_tiles[kRows]);
    if (args.max_visible % 2 != 0) CountPath(&args.paths->attention_odd_tokens);
  }
  const uint16_t* p = args.probabilities + row * kSplitTokens;
  float* acc = args.acc + static_cast<int64_t>(row) * args.head_dim;
  const int full_pairs = args.max_visible / 2;
  constexpr int kPairsPerBlock = kCacheTokens / 2;
  const int64_t pair_stride = 2 * static_cast<int64_t>(args.head_dim);
  for (int d = 0; d < args.head_dim; d += 32) {
    const int left = args.head_dim - d;
    const __mmask16 mask0 = left >= 16 ? 0xffff : (1u << left) - 1;
    const __mmask16 mask1 = left >= 32 ? 0xffff : left <= 16 ? 0 : (1u << (left - 16)) - 1;
    __m512 sums[kRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    const auto add_pair = [&](__m512i v0, __m512i v1, int pair) __attribute__((always_inline)) {
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const __m512bh w = SetPair(p + r * kSplitTokens + 2 * pair);
        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], reinterpret_cast<__m512bh>(v0), w);
        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], reinterpret_cast<__m512bh>(v1), w);
      }
    };
    for (int first = 0; first < full_pairs; first += kPairsPerBlock) {
      const uint16_t* values = args.values[first / kPairsPerBlock] + 2 * d;
      const int end = full_pairs - first < kPairsPerBlock ? full_pairs : first + kPairsPerBlock;
      for (int pair = first; pair < end; ++pair, values += pair_stride) {
        add_pair(_mm512_maskz_loadu_epi32(mask0, values),
                 _mm512_maskz_loadu_epi32(mask1, values + 32), pair);
      }
    }
    if (args.max_visible % 2 != 0) {
      // The pair's second token isn't there; whatever stands in its place must not be multiplied,
      // not even by 0.
      const uint16_t* values = args.values[full_pairs / kPairsPerBlock] +
                               full_pairs % kPairsPerBlock * pair_stride + 2 * d;
      const __m512i first_only = _mm512_set1_epi32(0xffff);
      add_pair(_mm512_and_si512(first_only, _mm512_maskz_loadu_epi32(mask0, values)),
               _mm512_and_si512(first_only, _mm512_maskz_loadu_epi32(mask1, values + 32)),
               full_pairs);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      _mm512_mask_storeu_ps(acc + r * args.head_dim + d, mask0, sums[r][0]);
      _mm512_mask_storeu_ps(acc + r * args.head_dim + d + 16, mask1, sums[r][1]);
    }
  }
}

using AttentionRowsFunction = void (*)(const AttentionSplitArgs<uint16_t>&, int);
constexpr AttentionRowsFunction kScoreRows[kAttentionTileRows + 1] = {
    nullptr,           ScoreRowsBf16<1>,  ScoreRowsBf16<2>,  ScoreRowsBf16<3>, ScoreRowsBf16<4>,
    ScoreRowsBf16<5>,  ScoreRowsBf16<6>,  ScoreRowsBf16<7>,  ScoreRowsBf16<8>, ScoreRowsBf16<9>,
    ScoreRowsBf16<10>, ScoreRowsBf16<11>, ScoreRowsBf16<12>,
};
constexpr AttentionRowsFunction kValueRows[kAttentionTileRows + 1] = {
    nullptr,           ValueRowsBf16<1>,  ValueRowsBf16<2>,  ValueRowsBf16<3>, ValueRowsBf16<4>,
    ValueRowsBf16<5>,  ValueRowsBf16<6>,  ValueRowsBf16<7>,  ValueRowsBf16<8>, ValueRowsBf16<9>,
    ValueRowsBf16<10>, ValueRowsBf16<11>, ValueRowsBf16<12>,
};

void RunAttentionTiles(const AttentionRowsFunction* functions,
                       const AttentionSplitArgs<uint16_t>& args) {
  const int num_tiles = (args.rows + kAttentionTileRows - 1) / kAttentionTileRows;
  int row = 0;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int end = args.rows * (tile + 1) / num_tiles;
    functions[end - row](args, row);
    row = end;
  }
}

void AttentionBf16(const AttentionSplitArgs<uint16_t>& args) {
  RunAttentionTiles(kScoreRows, args);
  Softmax(args, args.probabilities);
  RunAttentionTiles(kValueRows, args);
}

}  // namespace
}  // namespace quartet::kernels::cpu
