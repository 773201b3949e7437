#include "gateway/prefix_affinity.h"

#include "common/mix_bits.h"

namespace quartet::gateway {
namespace {

// FNV-1a, mixed.
uint64_t HashText(absl::string_view text) {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return common::MixBits(h);
}

}  // namespace

std::vector<uint64_t> BlockHashes(const TokenIds& prompt_ids, absl::string_view salt,
                                  uint32_t block_tokens) {
  std::vector<uint64_t> hashes;
  if (block_tokens == 0) return hashes;
  hashes.reserve(prompt_ids.size() / block_tokens);
  uint64_t h = HashText(salt);
  for (size_t end = block_tokens; end <= prompt_ids.size(); end += block_tokens) {
    for (size_t i = end - block_tokens; i < end; ++i) {
      h = (h ^ prompt_ids[i]) * 0x9e3779b97f4a7c15ULL;
      h ^= h >> 29;
    }
    h = common::MixBits(h);
    hashes.push_back(h);
  }
  return hashes;
}

uint64_t RendezvousScore(uint64_t prefix, absl::string_view address) {
  return common::MixBits(prefix ^ HashText(address));
}

void PrefixMemory::Remember(const std::vector<uint64_t>& hashes, const std::string& address) {
  if (hashes.empty() || capacity_ == 0) return;
  const auto found = by_hash_.find(hashes.back());
  if (found != by_hash_.end()) {
    found->second->second = address;
    entries_.splice(entries_.begin(), entries_, found->second);
    return;
  }
  entries_.emplace_front(hashes.back(), address);
  by_hash_[hashes.back()] = entries_.begin();
  if (entries_.size() <= capacity_) return;
  by_hash_.erase(entries_.back().first);
  entries_.pop_back();
}

const std::string* PrefixMemory::Find(const std::vector<uint64_t>& hashes) {
  for (auto hash = hashes.rbegin(); hash != hashes.rend(); ++hash) {
    const auto found = by_hash_.find(*hash);
    if (found == by_hash_.end()) continue;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  return nullptr;
}

}  // namespace quartet::gateway
