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

// Reference-counted, so that sequences can share blocks. Blocks that nobody holds stand in a queue:
// those whose contents are worth nothing in front, the last one freed first (its memory is warm,
// and memory that was never needed stays untouched), then those whose contents may be wanted again,
// the least recently held first. Not thread-safe.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(reference_counts_.size()); }
  // Blocks that nobody holds, whatever lies in them.
  int64_t num_free() const { return num_free_; }
  int64_t num_used() const { return num_blocks() - num_free(); }
  int reference_count(int32_t block) const { return reference_counts_[block]; }

  // The front of the queue, with one reference. REQUIRES: num_free() > 0.
  int32_t Allocate();
  // One more holder, of a block that may be held by nobody so far.
  void Share(int32_t block);
  // One holder less. A block that nobody holds any more goes to the end of the queue if its
  // contents are worth keeping, else to its front. REQUIRES: the block is held.
  void Release(int32_t block, bool keep_contents = false);

 private:
  // Neighbours in the queue; index num_blocks() is its head, which closes the ring.
  struct Link {
    int32_t previous;
    int32_t next;
  };
  int32_t head() const { return static_cast<int32_t>(reference_counts_.size()); }
  void InsertAfter(int32_t previous, int32_t block);
  void Unlink(int32_t block);

  std::vector<int> reference_counts_;
  std::vector<Link> links_;
  int64_t num_free_ = 0;
};

}  // namespace quartet::engine
