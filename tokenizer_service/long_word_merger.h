// Merges the symbols of a long word (a megabyte of spaces is one word) in time that grows with its
// size alone.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer_service/merge_table.h"

namespace quartet::tokenizer {

// Keeps its memory between words up to a bound. Not thread-safe: one a thread.
class LongWordMerger {
 public:
  // Merges `symbols` in place, always the pair of lowest rank first and of equals the leftmost.
  void Merge(const MergeTable& table, std::vector<uint32_t>* symbols);

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // A queue of places whose pair had the same rank when they were put there.
  struct Bucket {
    uint32_t head = kNone;
    uint32_t tail = kNone;
  };
  struct Entry {
    uint32_t position;
    uint32_t next;
  };
  struct Symbol {
    uint32_t id;
    uint32_t previous;
    uint32_t next;
    uint32_t rank;  // of the pair with `next`; kNoMerge if that doesn't merge or the symbol is gone
  };

  void Link(const MergeTable& table, const std::vector<uint32_t>& ids);
  void MergeByRank(const MergeTable& table);
  void MergeByHeap(const MergeTable& table);
  // Joins the symbol at `position` with its next. Returns the place whose pair with `position`
  // changed, kNone at the start.
  uint32_t Join(const MergeTable& table, uint32_t position);
  void Put(uint32_t position);
  void TakeBucket(uint32_t rank);
  void Collect(std::vector<uint32_t>* symbols);

  std::vector<Symbol> symbols_;
  std::vector<Entry> entries_;
  std::vector<Bucket> buckets_;      // by rank
  std::vector<uint32_t> rank_heap_;  // ranks whose bucket holds something, lowest first
  std::vector<uint32_t> batch_;
};

}  // namespace quartet::tokenizer
