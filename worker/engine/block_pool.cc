#include "worker/engine/block_pool.h"

#include "common/status_macros.h"

namespace quartet::engine {

BlockPool::BlockPool(int64_t num_blocks)
    : reference_counts_(num_blocks, 0), links_(num_blocks + 1) {
  links_[head()] = {head(), head()};
  for (int64_t block = num_blocks - 1; block >= 0; --block) {
    InsertAfter(head(), static_cast<int32_t>(block));
  }
}

void BlockPool::InsertAfter(int32_t previous, int32_t block) {
  const int32_t next = links_[previous].next;
  links_[block] = {previous, next};
  links_[previous].next = block;
  links_[next].previous = block;
  ++num_free_;
}

void BlockPool::Unlink(int32_t block) {
  const Link link = links_[block];
  links_[link.previous].next = link.next;
  links_[link.next].previous = link.previous;
  --num_free_;
}

int32_t BlockPool::Allocate() {
  QUARTET_CHECK(num_free_ > 0);
  const int32_t block = links_[head()].next;
  QUARTET_CHECK(reference_counts_[block] == 0);
  Share(block);
  return block;
}

void BlockPool::Share(int32_t block) {
  if (reference_counts_[block]++ == 0) Unlink(block);
}

void BlockPool::Release(int32_t block, bool keep_contents) {
  QUARTET_CHECK(reference_counts_[block] > 0);
  if (--reference_counts_[block] > 0) return;
  InsertAfter(keep_contents ? links_[head()].previous : head(), block);
}

}  // namespace quartet::engine
