// Finds KV blocks again by what they hold, so that a prompt which begins like an earlier one is not
// computed twice. The idea of hashed full blocks is vLLM's (docs, "Automatic prefix caching").
//
// A block is known by its parent (the known block before it), its tokens and, if it is the first, a
// salt. All three are compared, and a parent's number is never used twice, so by induction a match
// is a match of the whole prefix: hashes only make it fast, and a collision costs a comparison.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "worker/engine/block_pool.h"

namespace quartet::engine {

// Owns the blocks. A known block that nobody holds stays known until it is handed out for something
// else, least recently held first; the blocks of one sequence from its end. Not thread-safe.
class PrefixCache {
 public:
  // Of one block's tokens, chained: `parent` is the hash of the block before it, 0 for the first.
  using HashFunction = uint64_t (*)(uint64_t parent, absl::string_view salt,
                                    std::span<const int32_t> tokens);
  static uint64_t HashBlock(uint64_t parent, absl::string_view salt,
                            std::span<const int32_t> tokens);

  // Without `is_enabled` nothing is ever known.
  PrefixCache(int64_t num_blocks, bool is_enabled, HashFunction hash = HashBlock);

  const BlockPool& pool() const { return pool_; }
  bool is_enabled() const { return is_enabled_; }
  // Known blocks that nobody holds.
  int64_t num_cached() const { return num_known_ - num_known_held_; }

  // A block for new contents. REQUIRES: pool().num_free() > 0.
  int32_t Allocate();
  // One holder less.
  void Release(int32_t block);

  // The known blocks that hold the beginning of `tokens`, at most `max_blocks`; each gets a holder
  // more.
  std::vector<int32_t> Acquire(absl::string_view salt, std::span<const int32_t> tokens,
                               int64_t max_blocks);

  // Makes known that blocks[index] holds the `tokens` [kBlockTokens], after blocks[0, index) which
  // are known; the step that computes it has been planned. If another block is known to hold the
  // same, that one gets the holder instead if `may_replace`; otherwise nothing happens. Returns the
  // block to use from now on, or -1 if nothing happened.
  int32_t Publish(absl::string_view salt, std::span<const int32_t> blocks, int64_t index,
                  std::span<const int32_t> tokens, bool may_replace);

 private:
  struct Entry {
    uint64_t id = 0;         // 0: not known
    uint64_t parent_id = 0;  // 0: the first of a sequence
    uint64_t hash = 0;
    int32_t next = -1;  // another block with this hash
    std::array<int32_t, kBlockTokens> tokens;
    std::string salt;  // of a first block
  };

  // The known block, or -1.
  int32_t Find(uint64_t parent_id, uint64_t hash, absl::string_view salt,
               std::span<const int32_t> tokens) const;
  void Hold(int32_t block);
  void Forget(int32_t block);

  const bool is_enabled_;
  const HashFunction hash_;
  BlockPool pool_;
  std::vector<Entry> entries_;                      // by block
  absl::flat_hash_map<uint64_t, int32_t> by_hash_;  // the first of each hash's known blocks
  uint64_t next_id_ = 1;
  int64_t num_known_ = 0;
  int64_t num_known_held_ = 0;
};

}  // namespace quartet::engine
