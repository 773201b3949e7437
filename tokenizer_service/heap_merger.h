// BPE by the book: a heap of mergeable pairs, lowest rank first and of equals the leftmost. Right
// for any list of merges, and what the faster encoders are checked against and built from.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer_service/merge_table.h"

namespace quartet::tokenizer {

// Merges `symbols` in place in O(n log n). Returns the rank of the last merge done, kNoMerge if
// there was none.
uint32_t MergeByHeap(const MergeTable& table, std::vector<uint32_t>* symbols);

}  // namespace quartet::tokenizer
