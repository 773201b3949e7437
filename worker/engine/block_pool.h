// The KV blocks of a group, by number. What lies in a block is the device's business.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace quartet::engine {

inline constexpr int64_t kBlockTokens = kernels::kBlockTokens;

// Blocks that `num_tokens` tokens take.
inline constexpr int64_t BlocksForTokens(int64_t num_tokens) {
  return (num_tokens + kBlockTokens - 1) / kBlockTokens;
}

// Reference-counted, so that sequences can share blocks. Not thread-safe. The block freed last is
// handed out first: its memory is warm, and memory that was never needed stays untouched.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(reference_counts_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return num_blocks() - num_free(); }
  int reference_count(int32_t block) const { return reference_counts_[block]; }

  // A block with one reference. REQUIRES: num_free() > 0.
  int32_t Allocate();
  // One more holder. REQUIRES: the block is held.
  void Share(int32_t block);
  // One holder less; the last one frees the block. REQUIRES: the block is held.
  void Release(int32_t block);

 private:
  std::vector<int> reference_counts_;
  std::vector<int32_t> free_;  // the next one stands last
};

}  // namespace quartet::engine
