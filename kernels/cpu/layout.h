// Where an element lies in a packed weight matrix and in a block of the KV cache. Kernels of all
// instruction sets share these layouts; a pair is two neighbours in the dimension that is summed
// over, as vdpbf16ps wants them.
//
// The functions are static: this file is compiled with several instruction sets' flags, and the
// linker must not pick one copy.
#pragma once

#include <cstdint>

namespace quartet::kernels::cpu {

// Packed weights [rows, cols] are panels of 32 rows: [ceil(rows / 32)][ceil(cols / 2)][32][2] bf16,
// padded with zeros. ("Rows" are output features: one panel gives 32 columns of the product.)
constexpr int kPanelColumns = 32;

static inline int64_t NumPanels(int64_t rows) { return (rows + kPanelColumns - 1) / kPanelColumns; }
static inline int64_t NumPairs(int64_t cols) { return (cols + 1) / 2; }
// In bf16 elements.
static inline int64_t PanelElements(int64_t cols) { return NumPairs(cols) * kPanelColumns * 2; }

// One (block, KV head) of the cache holds 16 tokens:
//   keys   bf16 [head_dim / 2][16 tokens][2]    f32 [head_dim][16 tokens]
//   values bf16 [8 token pairs][head_dim][2]    f32 [16 tokens][head_dim]
// so that scores of 16 keys, or of 16 dimensions of a value, are lanes of one register, without
// sums across lanes.
constexpr int kCacheTokens = 16;

static inline int64_t HeadBlockElements(int head_dim) {
  return static_cast<int64_t>(kCacheTokens) * head_dim;
}

// Positions [i, i + 1) * kSplitTokens form split i of a sequence's cache: a part of attention that
// is computed apart and merged in order. Part of the numerics: changing it changes bits.
constexpr int kSplitTokens = 256;
constexpr int kSplitBlocks = kSplitTokens / kCacheTokens;

// Most query rows that one attention kernel call takes.
constexpr int kMaxAttentionRows = 32;

}  // namespace quartet::kernels::cpu
