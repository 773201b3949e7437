#include "tokenizer_service/heap_merger.h"

#include <algorithm>
#include <functional>

namespace quartet::tokenizer {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

struct Symbol {
  uint32_t id;
  uint32_t previous;
  uint32_t next;
  uint32_t rank;  // of the pair with `next`; kNoMerge if that doesn't merge or the symbol is gone
};

std::vector<Symbol> Link(const MergeTable& table, const std::vector<uint32_t>& ids) {
  const auto size = static_cast<uint32_t>(ids.size());
  std::vector<Symbol> symbols(size);
  for (uint32_t i = 0; i < size; ++i) {
    const bool last = i + 1 == size;
    symbols[i] = {ids[i], i == 0 ? kNone : i - 1, last ? kNone : i + 1,
                  last ? kNoMerge : table.Rank(ids[i], ids[i + 1])};
  }
  return symbols;
}

// Joins the symbol at `position` with its next and finds the ranks of its new pairs.
void Join(const MergeTable& table, uint32_t position, std::vector<Symbol>* symbols) {
  Symbol& left = (*symbols)[position];
  Symbol& right = (*symbols)[left.next];
  left.id = table.Result(left.rank);
  left.next = right.next;
  left.rank = kNoMerge;
  right.rank = kNoMerge;
  if (left.next != kNone) {
    Symbol& after = (*symbols)[left.next];
    after.previous = position;
    left.rank = table.Rank(left.id, after.id);
  }
  if (left.previous == kNone) return;
  Symbol& before = (*symbols)[left.previous];
  before.rank = table.Rank(before.id, left.id);
}

}  // namespace

uint32_t MergeByHeap(const MergeTable& table, std::vector<uint32_t>* ids) {
  uint32_t last_rank = kNoMerge;
  if (ids->size() < 2) return last_rank;
  std::vector<Symbol> symbols = Link(table, *ids);
  std::vector<uint64_t> heap;  // rank, then place
  const auto push = [&](uint32_t position) {
    const uint32_t rank = symbols[position].rank;
    if (rank == kNoMerge) return;
    heap.push_back(uint64_t{rank} << 32 | position);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto position = static_cast<uint32_t>(heap.back());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (symbols[position].rank != rank) continue;  // merged away or changed since
    last_rank = rank;
    Join(table, position, &symbols);
    if (symbols[position].previous != kNone) push(symbols[position].previous);
    push(position);
  }
  ids->clear();
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids->push_back(symbols[i].id);
  return last_rank;
}

}  // namespace quartet::tokenizer
