#include "worker/engine/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "common/mix_bits.h"
#include "common/status_macros.h"

namespace quartet::engine {

uint64_t PrefixCache::HashBlock(uint64_t parent, absl::string_view salt,
                                std::span<const int32_t> tokens) {
  uint64_t hash = common::MixBits(parent + 0x9e3779b97f4a7c15ull);
  for (const char c : salt) hash = common::MixBits(hash ^ static_cast<unsigned char>(c));
  for (const int32_t token : tokens) hash = common::MixBits(hash ^ static_cast<uint32_t>(token));
  return hash;
}

PrefixCache::PrefixCache(int64_t num_blocks, bool is_enabled, HashFunction hash)
    : is_enabled_(is_enabled),
      hash_(hash),
      pool_(num_blocks),
      entries_(is_enabled ? num_blocks : 0) {}

int32_t PrefixCache::Allocate() {
  const int32_t block = pool_.Allocate();
  if (is_enabled_ && entries_[block].id != 0) Forget(block);
  return block;
}

void PrefixCache::Hold(int32_t block) {
  if (pool_.reference_count(block) == 0 && entries_[block].id != 0) ++num_known_held_;
  pool_.Share(block);
}

void PrefixCache::Release(int32_t block) {
  const bool is_known = is_enabled_ && entries_[block].id != 0;
  pool_.Release(block, is_known);
  if (is_known && pool_.reference_count(block) == 0) --num_known_held_;
}

int32_t PrefixCache::Find(uint64_t parent_id, uint64_t hash, absl::string_view salt,
                          std::span<const int32_t> tokens) const {
  const auto first = by_hash_.find(hash);
  if (first == by_hash_.end()) return -1;
  for (int32_t block = first->second; block >= 0; block = entries_[block].next) {
    const Entry& entry = entries_[block];
    if (entry.parent_id == parent_id && (parent_id != 0 || entry.salt == salt) &&
        std::equal(tokens.begin(), tokens.end(), entry.tokens.begin())) {
      return block;
    }
  }
  return -1;
}

// REQUIRES: the block is known and was just taken from the queue of those that nobody held.
void PrefixCache::Forget(int32_t block) {
  Entry& entry = entries_[block];
  const auto first = by_hash_.find(entry.hash);
  int32_t* link = &first->second;
  while (*link != block) link = &entries_[*link].next;
  *link = entry.next;
  if (first->second < 0) by_hash_.erase(first);
  entry = Entry();
  --num_known_;
}

std::vector<int32_t> PrefixCache::Acquire(absl::string_view salt, std::span<const int32_t> tokens,
                                          int64_t max_blocks) {
  std::vector<int32_t> blocks;
  if (!is_enabled_) return blocks;
  max_blocks = std::min(max_blocks, static_cast<int64_t>(tokens.size()) / kBlockTokens);
  uint64_t hash = 0, parent_id = 0;
  for (int64_t i = 0; i < max_blocks; ++i) {
    const auto chunk = tokens.subspan(i * kBlockTokens, kBlockTokens);
    hash = hash_(hash, i == 0 ? salt : absl::string_view(), chunk);
    const int32_t block = Find(parent_id, hash, salt, chunk);
    if (block < 0) break;
    Hold(block);
    blocks.push_back(block);
    parent_id = entries_[block].id;
  }
  return blocks;
}

int32_t PrefixCache::Publish(absl::string_view salt, std::span<const int32_t> blocks, int64_t index,
                             std::span<const int32_t> tokens, bool may_replace) {
  const int32_t block = blocks[index];
  if (!is_enabled_) return -1;
  QUARTET_CHECK(entries_[block].id == 0 && pool_.reference_count(block) == 1);
  const Entry* const parent = index == 0 ? nullptr : &entries_[blocks[index - 1]];
  QUARTET_CHECK(parent == nullptr || parent->id != 0);
  const uint64_t parent_id = parent == nullptr ? 0 : parent->id;
  const absl::string_view own_salt = parent == nullptr ? salt : absl::string_view();
  const uint64_t hash = hash_(parent == nullptr ? 0 : parent->hash, own_salt, tokens);
  const int32_t known = Find(parent_id, hash, salt, tokens);
  if (known >= 0) {
    if (!may_replace) return -1;
    Hold(known);
    Release(block);
    return known;
  }
  Entry& entry = entries_[block];
  entry.id = next_id_++;
  entry.parent_id = parent_id;
  entry.hash = hash;
  std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
  entry.salt = std::string(own_salt);
  const auto [first, is_new] = by_hash_.try_emplace(hash, block);
  if (!is_new) entry.next = std::exchange(first->second, block);
  ++num_known_;
  ++num_known_held_;
  return block;
}

}  // namespace quartet::engine
