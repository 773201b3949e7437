// Attention over one split of the cache in f32 arithmetic, for f32 and bf16 caches, and the softmax
// and merging that the bf16 kernels share. Written on vector.h, compiled once per instruction set.
//
// A row's numbers don't depend on the other rows: positions that it doesn't see get probability 0,
// and adding 0 * value changes nothing. What lies behind max_visible in the cache may be anything,
// so it is never multiplied.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector.h"

namespace quartet::kernels::cpu {
namespace {

constexpr int kTokenVectors = kCacheTokens / kLanes;
constexpr int kRowsPerTile = 4;

// scores[r][0..16) = q[r] . keys of one block.
template <int kRows>
void ScoreBlock(const float* q, int head_dim, const uint16_t* keys, float* scores) {
  F32 sums[kRows][kTokenVectors] = {};
  for (int pair = 0; pair < head_dim / 2; ++pair, keys += 2 * kCacheTokens) {
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; ++v) {
      const U32 k = LoadPairs(keys + 2 * v * kLanes);
      const F32 first = First(k), second = Second(k);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        sums[r][v] = Fma(Set(q[r * head_dim + 2 * pair]), first, sums[r][v]);
        sums[r][v] = Fma(Set(q[r * head_dim + 2 * pair + 1]), second, sums[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kTokenVectors; ++v) {
      Store(scores + r * kSplitTokens + v * kLanes, sums[r][v]);
    }
  }
}

template <int kRows>
void ScoreBlock(const float* q, int head_dim, const float* keys, float* scores) {
  F32 sums[kRows][kTokenVectors] = {};
  for (int d = 0; d < head_dim; ++d, keys += kCacheTokens) {
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; ++v) {
      const F32 k = Load(keys + v * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r][v] = Fma(Set(q[r * head_dim + d]), k, sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kTokenVectors; ++v) {
      Store(scores + r * kSplitTokens + v * kLanes, sums[r][v]);
    }
  }
}

// sums[r] += p[r][token] * value[token] for the `tokens` first tokens of one block; `count`
// dimensions from `values` on.
template <int kRows>
QUARTET_INLINE void AddValues(const float* p, const uint16_t* values, int tokens, int head_dim,
                              int count, F32* sums) {
  for (int token = 0; token < tokens; token += 2, values += 2 * head_dim) {
    const U32 pairs = LoadPairs(values, count);
    const F32 first = First(pairs), second = Second(pairs);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sums[r] = Fma(Set(p[r * kSplitTokens + token]), first, sums[r]);
    }
    if (token + 1 == tokens) break;
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sums[r] = Fma(Set(p[r * kSplitTokens + token + 1]), second, sums[r]);
    }
  }
}

template <int kRows>
QUARTET_INLINE void AddValues(const float* p, const float* values, int tokens, int head_dim,
                              int count, F32* sums) {
  for (int token = 0; token < tokens; ++token, values += head_dim) {
    const F32 v = Load(values, count);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[r] = Fma(Set(p[r * kSplitTokens + token]), v, sums[r]);
  }
}

// Elements from one dimension of a value to the next.
constexpr int DimensionStride(const uint16_t*) { return 2; }
constexpr int DimensionStride(const float*) { return 1; }

template <int kRows, typename T>
void ValueTile(const AttentionSplitArgs<T>& args, const float* p, float* acc) {
  if (args.paths != nullptr) CountPath(&args.paths->attention_f32_value_tiles[kRows]);
  for (int d = 0; d < args.head_dim; d += kLanes) {
    const int count = args.head_dim - d;
    F32 sums[kRows] = {};
    for (int first = 0; first < args.max_visible; first += kCacheTokens) {
      const int left = args.max_visible - first;
      const T* values = args.values[first / kCacheTokens];
      AddValues<kRows>(p + first, values + d * DimensionStride(values),
                       left < kCacheTokens ? left : kCacheTokens, args.head_dim, count, sums);
    }
    for (int r = 0; r < kRows; ++r) Store(acc + r * args.head_dim + d, sums[r], count);
  }
}

// Turns a row of scores into exp(scale * score - max): rounded to bf16 in `probabilities` if that
// is there, else in place. Positions from `visible` to `padded` (a multiple of 16) become 0.
QUARTET_INLINE void SoftmaxRow(float* scores, int visible, int padded, float scale, float* max_out,
                               float* sum_out, uint16_t* probabilities) {
  const F32 lowest = Set(-__builtin_inff());
  F32 maxima = lowest;
  int i = 0;
  for (; i + kLanes <= visible; i += kLanes) maxima = Max(maxima, Load(scores + i) * Set(scale));
  if (i < visible) {
    maxima = Max(maxima, FirstLanes(Load(scores + i) * Set(scale), lowest, visible - i));
  }
  const float max = visible > 0 ? ReduceMax(maxima) : 0.0f;
  F32 sums = {};
  const auto store = [=](int at, F32 p) __attribute__((always_inline)) {
    if (probabilities != nullptr) {
      StoreBf16(probabilities + at, p);
    } else {
      Store(scores + at, p);
    }
  };
  for (i = 0; i + kLanes <= visible; i += kLanes) {
    const F32 p = ExpBounded(Load(scores + i) * Set(scale) - Set(max));
    sums += p;
    store(i, p);
  }
  if (i < visible) {
    const F32 p = ExpBounded(Load(scores + i) * Set(scale) - Set(max));
    sums += FirstLanes(p, F32{}, visible - i);
    store(i, FirstLanes(p, F32{}, visible - i));
    i += kLanes;
  }
  for (; i < padded; i += kLanes) store(i, F32{});
  *max_out = max;
  *sum_out = ReduceAdd(sums);
}

template <typename T>
void Softmax(const AttentionSplitArgs<T>& args, uint16_t* probabilities) {
  const int padded = (args.max_visible + kCacheTokens - 1) / kCacheTokens * kCacheTokens;
  for (int r = 0; r < args.rows; ++r) {
    SoftmaxRow(args.scores + r * kSplitTokens, args.visible[r], padded, args.scale, args.max + r,
               args.sum + r, probabilities == nullptr ? nullptr : probabilities + r * kSplitTokens);
  }
}

// Scores of rows [row, row + kRows) against one block.
template <int kRows, typename T>
void ScoreTile(const AttentionSplitArgs<T>& args, const float* q, int row, int block) {
  if (args.paths != nullptr) CountPath(&args.paths->attention_f32_score_tiles[kRows]);
  ScoreBlock<kRows>(q + row * args.head_dim, args.head_dim, args.keys[block],
                    args.scores + row * kSplitTokens + block * kCacheTokens);
}

template <typename T>
void AttentionWithF32(const AttentionSplitArgs<T>& args, const float* q) {
  const int blocks = (args.max_visible + kCacheTokens - 1) / kCacheTokens;
  for (int block = 0; block < blocks; ++block) {
    int r = 0;
    for (; r + kRowsPerTile <= args.rows; r += kRowsPerTile) {
      ScoreTile<kRowsPerTile>(args, q, r, block);
    }
    for (; r < args.rows; ++r) ScoreTile<1>(args, q, r, block);
  }
  Softmax(args, nullptr);
  int r = 0;
  for (; r + kRowsPerTile <= args.rows; r += kRowsPerTile) {
    ValueTile<kRowsPerTile>(args, args.scores + r * kSplitTokens, args.acc + r * args.head_dim);
  }
  for (; r < args.rows; ++r) {
    ValueTile<1>(args, args.scores + r * kSplitTokens, args.acc + r * args.head_dim);
  }
}

void AttentionF32(const AttentionSplitArgs<float>& args) { AttentionWithF32(args, args.q); }

[[maybe_unused]] void AttentionBf16InF32(const AttentionSplitArgs<uint16_t>& args) {
  const int64_t size = static_cast<int64_t>(args.rows) * args.head_dim;
  for (int64_t i = 0; i < size; i += kLanes) {
    Store(args.q_f32 + i, LoadBf16(args.q + i, size - i), size - i);
  }
  AttentionWithF32(args, args.q_f32);
}

// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", section 3.1.
void AttentionMerge(float max, float sum, const float* acc, int head_dim, float* total_max,
                    float* total_sum, float* total_acc) {
  const float new_max = max > *total_max ? max : *total_max;
  const F32 old_factor = Exp(Set(*total_max - new_max));
  const F32 new_factor = Exp(Set(max - new_max));
  *total_max = new_max;
  *total_sum = Fma(Set(sum), new_factor, Set(*total_sum) * old_factor)[0];
  for (int d = 0; d < head_dim; d += kLanes) {
    const int count = head_dim - d;
    const F32 old_part = Load(total_acc + d, count) * old_factor;
    Store(total_acc + d, Fma(Load(acc + d, count), new_factor, old_part), count);
  }
}

void AttentionFinish(const float* acc, float sum, int head_dim, uint16_t* out_bf16,
                     float* out_f32) {
  for (int d = 0; d < head_dim; d += kLanes) {
    const F32 v = Load(acc + d, head_dim - d) / Set(sum);
    if (out_bf16 != nullptr) {
      StoreBf16(out_bf16 + d, v, head_dim - d);
    } else {
      Store(out_f32 + d, v, head_dim - d);
    }
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
