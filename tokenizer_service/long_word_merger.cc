// If every merge comes after those that make its parts (true of trained vocabularies), all places
// of one rank can be merged from left to right before the next rank: what that makes merges later.
// So places wait in one queue per rank instead of one big heap. Otherwise a heap orders single
// places.
#include "tokenizer_service/long_word_merger.h"

#include <algorithm>
#include <functional>

namespace quartet::tokenizer {
namespace {

// Symbols above this are given back after use (32 MB of scratch).
constexpr size_t kKeptSymbols = 1 << 20;

}  // namespace

void LongWordMerger::Merge(const MergeTable& table, std::vector<uint32_t>* symbols) {
  if (symbols->size() < 2) return;
  Link(table, *symbols);
  if (table.parts_come_first()) {
    MergeByRank(table);
  } else {
    MergeByHeap(table);
  }
  Collect(symbols);
  if (symbols_.capacity() > kKeptSymbols) {
    symbols_ = {};
    entries_ = {};
    batch_ = {};
  }
}

void LongWordMerger::Link(const MergeTable& table, const std::vector<uint32_t>& ids) {
  const auto size = static_cast<uint32_t>(ids.size());
  symbols_.resize(size);
  for (uint32_t i = 0; i < size; ++i) {
    const bool last = i + 1 == size;
    symbols_[i] = {ids[i], i == 0 ? kNone : i - 1, last ? kNone : i + 1,
                   last ? kNoMerge : table.Rank(ids[i], ids[i + 1])};
  }
}

void LongWordMerger::Put(uint32_t position) {
  const uint32_t rank = symbols_[position].rank;
  if (rank == kNoMerge) return;
  Bucket& bucket = buckets_[rank];
  const auto entry = static_cast<uint32_t>(entries_.size());
  entries_.push_back({position, kNone});
  if (bucket.tail == kNone) {
    bucket.head = entry;
    rank_heap_.push_back(rank);
    std::push_heap(rank_heap_.begin(), rank_heap_.end(), std::greater<>());
  } else {
    entries_[bucket.tail].next = entry;
  }
  bucket.tail = entry;
}

void LongWordMerger::TakeBucket(uint32_t rank) {
  batch_.clear();
  for (uint32_t entry = buckets_[rank].head; entry != kNone; entry = entries_[entry].next) {
    batch_.push_back(entries_[entry].position);
  }
  buckets_[rank] = Bucket();
  if (!std::is_sorted(batch_.begin(), batch_.end())) std::sort(batch_.begin(), batch_.end());
}

uint32_t LongWordMerger::Join(const MergeTable& table, uint32_t position) {
  Symbol& left = symbols_[position];
  Symbol& right = symbols_[left.next];
  left.id = table.Result(left.rank);
  left.next = right.next;
  right.rank = kNoMerge;
  left.rank = kNoMerge;
  if (left.next != kNone) {
    symbols_[left.next].previous = position;
    left.rank = table.Rank(left.id, symbols_[left.next].id);
  }
  if (left.previous == kNone) return kNone;
  Symbol& before = symbols_[left.previous];
  before.rank = table.Rank(before.id, left.id);
  return left.previous;
}

void LongWordMerger::MergeByRank(const MergeTable& table) {
  buckets_.resize(table.num_merges());
  entries_.clear();
  rank_heap_.clear();
  for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) Put(i);
  while (!rank_heap_.empty()) {
    std::pop_heap(rank_heap_.begin(), rank_heap_.end(), std::greater<>());
    const uint32_t rank = rank_heap_.back();
    rank_heap_.pop_back();
    TakeBucket(rank);
    for (const uint32_t position : batch_) {
      if (symbols_[position].rank != rank) continue;  // merged away or changed since
      const uint32_t before = Join(table, position);
      if (before != kNone) Put(before);
      Put(position);
    }
  }
}

void LongWordMerger::MergeByHeap(const MergeTable& table) {
  // Rank, then place, so that equals come from left to right.
  std::vector<uint64_t> heap;
  const auto push = [&](uint32_t position) {
    const uint32_t rank = symbols_[position].rank;
    if (rank == kNoMerge) return;
    heap.push_back(uint64_t{rank} << 32 | position);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto position = static_cast<uint32_t>(heap.back());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (symbols_[position].rank != rank) continue;
    const uint32_t before = Join(table, position);
    if (before != kNone) push(before);
    push(position);
  }
}

void LongWordMerger::Collect(std::vector<uint32_t>* symbols) {
  symbols->clear();
  for (uint32_t i = 0; i != kNone; i = symbols_[i].next) symbols->push_back(symbols_[i].id);
}

}  // namespace quartet::tokenizer
