#include "tokenizer_service/merge_table.h"

#include <algorithm>

namespace quartet::tokenizer {
namespace {

constexpr int kSlotsPerMerge = 2;
constexpr int kFilterBitsPerMerge = 8;

// Smallest power of two, as an exponent, that is at least `count`.
int BitsFor(uint64_t count) {
  int bits = 6;
  while ((uint64_t{1} << bits) < count) ++bits;
  return bits;
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges) : merges_(merges.begin(), merges.end()) {
  const int bits = BitsFor(merges_.size() * kSlotsPerMerge);
  const int filter_bits = BitsFor(merges_.size() * kFilterBitsPerMerge);
  slots_.resize(uint64_t{1} << bits);
  filter_.resize(uint64_t{1} << (filter_bits - 6));
  shift_ = 64 - bits;
  filter_shift_ = 64 - filter_bits;
  mask_ = slots_.size() - 1;
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const Merge& merge = merges_[rank];
    const uint64_t key = uint64_t{merge.left} << 32 | merge.right;
    const uint64_t hash = Hash(key);
    uint64_t at = hash >> shift_;
    while (slots_[at].rank != kNoMerge && slots_[at].key != key) at = (at + 1) & mask_;
    slots_[at] = {key, rank};  // Of two equal pairs the later one counts, as in the reference.
    const uint64_t bit = hash >> filter_shift_;
    filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
  }
  CheckOrder();
}

void MergeTable::CheckOrder() {
  uint32_t num_ids = 0;
  for (const Merge& merge : merges_) {
    num_ids = std::max({num_ids, merge.left + 1, merge.right + 1, merge.result + 1});
  }
  std::vector<uint32_t> last_made(num_ids, 0);  // one past the last rank that makes the id
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) last_made[merges_[rank].result] = rank + 1;
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const Merge& merge = merges_[rank];
    if (last_made[merge.left] > rank || last_made[merge.right] > rank) parts_come_first_ = false;
  }
}

}  // namespace quartet::tokenizer
