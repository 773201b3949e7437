#include "worker/engine/block_pool.h"

#include "common/status_macros.h"

namespace quartet::engine {

BlockPool::BlockPool(int64_t num_blocks) : reference_counts_(num_blocks, 0) {
  free_.reserve(num_blocks);
  for (int64_t block = num_blocks - 1; block >= 0; --block) {
    free_.push_back(static_cast<int32_t>(block));
  }
}

int32_t BlockPool::Allocate() {
  QUARTET_CHECK(!free_.empty());
  const int32_t block = free_.back();
  free_.pop_back();
  QUARTET_CHECK(reference_counts_[block] == 0);
  reference_counts_[block] = 1;
  return block;
}

void BlockPool::Share(int32_t block) {
  QUARTET_CHECK(reference_counts_[block] > 0);
  ++reference_counts_[block];
}

void BlockPool::Release(int32_t block) {
  QUARTET_CHECK(reference_counts_[block] > 0);
  if (--reference_counts_[block] == 0) free_.push_back(block);
}

}  // namespace quartet::engine
