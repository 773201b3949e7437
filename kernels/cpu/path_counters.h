// Which paths the kernels took, for tests that must know that they went through all of them.
// Whoever wants to know gives a context a PathCounters; without one a kernel only looks at a null
// pointer, once a tile.
//
// As layout.h, this is compiled with several instruction sets' flags: nothing of the standard
// library, static functions only.
#pragma once

#include <cstdint>

namespace quartet::kernels::cpu {

// Written by several threads at once, read when no operation runs. All count calls.
struct PathCounters {
  static constexpr int kMaxTileRows = 16;
  static constexpr int kManySplits = 3;

  // Products of a tile of [r] rows with a panel by vdpbf16ps, by what the tile fetches ahead:
  // nothing, its own panel, the next panel.
  uint64_t matmul_bf16_tiles[3][kMaxTileRows + 1] = {};
  // The same in f32 arithmetic.
  uint64_t matmul_f32_tiles[kMaxTileRows + 1] = {};
  uint64_t matmul_ragged_panels = 0;  // with fewer than 32 columns
  // Whole products.
  uint64_t matmul_expanded = 0;    // of bf16 rows by f32 arithmetic
  uint64_t matmul_segmented = 0;   // with several segments
  uint64_t matmul_row_blocks = 0;  // with several blocks of rows

  // Scores of [r] rows by vdpbf16ps: with pairs of blocks, with a single block.
  uint64_t attention_score_pairs[kMaxTileRows + 1] = {};
  uint64_t attention_score_singles[kMaxTileRows + 1] = {};
  // Values of [r] rows by vdpbf16ps, and those among them with an odd last token.
  uint64_t attention_value_tiles[kMaxTileRows + 1] = {};
  uint64_t attention_odd_tokens = 0;
  // Tiles of [r] rows in f32 arithmetic.
  uint64_t attention_f32_score_tiles[kMaxTileRows + 1] = {};
  uint64_t attention_f32_value_tiles[kMaxTileRows + 1] = {};
  // Tiles of query rows by the number of splits of the cache that they see, kManySplits standing
  // for more too: by one thread, and by several that merge afterwards.
  uint64_t attention_whole[kManySplits + 1] = {};
  uint64_t attention_apart[kManySplits + 1] = {};
  uint64_t attention_unseen_splits = 0;  // rows that end before a split of their tile

  uint64_t norms_after_adding = 0;
  uint64_t norms_alone = 0;
  uint64_t ropes_with_bias = 0;
  uint64_t ropes_without_bias = 0;
};

static inline void CountPath(uint64_t* counter) {
  __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

}  // namespace quartet::kernels::cpu
