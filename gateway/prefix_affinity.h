// Which group probably holds the beginning of a prompt in its prefix cache: names for prefixes, an
// order of groups for each name that all gateways agree on, and a memory of where prompts went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gateway/generation_types.h"

namespace quartet::gateway {

// Chained hashes of a prompt's full KV blocks: element i names the first i + 1 blocks together with
// `salt`. Empty if the prompt has no full block or `block_tokens` is 0. The same in every process.
std::vector<uint64_t> BlockHashes(const TokenIds& prompt_ids, absl::string_view salt,
                                  uint32_t block_tokens);

// How well a group fits a prefix: the highest score among the groups that there are is its home
// (rendezvous hashing: a group that comes or goes moves only its own share of the prefixes).
uint64_t RendezvousScore(uint64_t prefix, absl::string_view address);

// Remembers where the latest prompts went, so that a conversation's next turn finds the group that
// holds the turns before, wherever load had sent those. Not thread-safe.
class PrefixMemory {
 public:
  // Forgets the least recently used beyond `capacity`.
  explicit PrefixMemory(size_t capacity) : capacity_(capacity) {}

  // The prompt whose BlockHashes these are went to the group at `address`. One entry a prompt.
  void Remember(const std::vector<uint64_t>& hashes, const std::string& address);
  // Where the longest remembered prompt went that is a prefix of this one, or nullptr.
  const std::string* Find(const std::vector<uint64_t>& hashes);

 private:
  using Entries = std::list<std::pair<uint64_t, std::string>>;
  const size_t capacity_;
  Entries entries_;  // Most recently used first.
  std::unordered_map<uint64_t, Entries::iterator> by_hash_;
};

}  // namespace quartet::gateway
