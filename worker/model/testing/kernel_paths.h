// The paths that the CPU kernels of one instruction set have, and how often a run took each: a test
// that claims something of all of them asserts that none is 0.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/path_counters.h"

namespace quartet::model::testing {

using NamedCounts = std::vector<std::pair<std::string, uint64_t>>;

inline void AddRange(const std::string& name, const uint64_t* counts, int first, int last,
                     NamedCounts* out) {
  for (int i = first; i <= last; ++i) {
    out->emplace_back(absl::StrCat(name, "[", i, "]"), counts[i]);
  }
}

// For a run with both compute dtypes, several numbers of threads, and models with and without
// biases whose sizes aren't multiples of a panel.
inline NamedCounts KernelPaths(const std::string& instruction_set,
                               const kernels::cpu::PathCounters& counts) {
  NamedCounts out;
  if (instruction_set == "avx512") {
    // Several tiles have nearly equal heights, so those that fetch ahead are never low.
    AddRange("matmul_bf16_tiles[nothing]", counts.matmul_bf16_tiles[0], 1, 14, &out);
    AddRange("matmul_bf16_tiles[own panel]", counts.matmul_bf16_tiles[1], 7, 14, &out);
    AddRange("matmul_bf16_tiles[next panel]", counts.matmul_bf16_tiles[2], 8, 14, &out);
    AddRange("matmul_f32_tiles", counts.matmul_f32_tiles, 1, 12, &out);
    AddRange("attention_score_pairs", counts.attention_score_pairs, 1, 12, &out);
    AddRange("attention_score_singles", counts.attention_score_singles, 1, 12, &out);
    AddRange("attention_value_tiles", counts.attention_value_tiles, 1, 12, &out);
    out.emplace_back("attention_odd_tokens", counts.attention_odd_tokens);
  } else {
    for (int rows : {1, 2, 5, 6}) {
      AddRange("matmul_f32_tiles", counts.matmul_f32_tiles, rows, rows, &out);
    }
    out.emplace_back("matmul_expanded", counts.matmul_expanded);
  }
  for (int rows : {1, 4}) {
    AddRange("attention_f32_score_tiles", counts.attention_f32_score_tiles, rows, rows, &out);
    AddRange("attention_f32_value_tiles", counts.attention_f32_value_tiles, rows, rows, &out);
  }
  AddRange("attention_whole", counts.attention_whole, 1, counts.kManySplits, &out);
  AddRange("attention_apart", counts.attention_apart, 1, counts.kManySplits, &out);
  out.emplace_back("attention_unseen_splits", counts.attention_unseen_splits);
  out.emplace_back("matmul_ragged_panels", counts.matmul_ragged_panels);
  out.emplace_back("matmul_segmented", counts.matmul_segmented);
  out.emplace_back("matmul_row_blocks", counts.matmul_row_blocks);
  out.emplace_back("norms_after_adding", counts.norms_after_adding);
  out.emplace_back("norms_alone", counts.norms_alone);
  out.emplace_back("ropes_with_bias", counts.ropes_with_bias);
  out.emplace_back("ropes_without_bias", counts.ropes_without_bias);
  return out;
}

}  // namespace quartet::model::testing
