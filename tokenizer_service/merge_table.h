// The merges of a vocabulary as a hash table from a pair of ids to rank and result. Immutable,
// thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer_service/huge_pages.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

inline constexpr uint32_t kNoMerge = UINT32_MAX;

class MergeTable {
 public:
  explicit MergeTable(const std::vector<Merge>& merges);

  // The rank of the merge of `left` and `right`, or kNoMerge. Low ranks merge first.
  uint32_t Rank(uint32_t left, uint32_t right) const {
    const uint64_t key = uint64_t{left} << 32 | right;
    const uint64_t hash = Hash(key);
    // Most pairs don't merge; a small bitmap says so without a miss in the big table.
    const uint64_t bit = hash >> filter_shift_;
    if ((filter_[bit >> 6] >> (bit & 63) & 1) == 0) return kNoMerge;
    for (uint64_t at = hash >> shift_;; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return slots_[at].rank;
      if (slots_[at].rank == kNoMerge) return kNoMerge;
    }
  }

  uint32_t Result(uint32_t rank) const { return merges_[rank].result; }
  const Merge& At(uint32_t rank) const { return merges_[rank]; }

  // Whether every merge comes after those that make its two parts, so that no merge makes room for
  // one of lower rank.
  bool parts_come_first() const { return parts_come_first_; }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t rank = kNoMerge;  // kNoMerge marks a free slot
  };
  static uint64_t Hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    key ^= key >> 32;
    return key * 0xD6E8FEB86659FD93u;
  }
  void CheckOrder();

  HugeVector<Slot> slots_;
  std::vector<uint64_t> filter_;
  HugeVector<Merge> merges_;
  int shift_;
  int filter_shift_;
  uint64_t mask_;
  bool parts_come_first_ = true;
};

}  // namespace quartet::tokenizer
