// The paged KV cache of one rank: its memory and how many blocks fit. Who owns which block is the
// engine's business; the layout inside a block is the device's.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "worker/device/device.h"
#include "worker/model/model_config.h"
#include "worker/parallel/shard.h"

namespace quartet::model {

// Blocks are counted in int32 slots (block * kBlockTokens + offset), so there are fewer than this.
inline constexpr int64_t kMaxKvBlocks = (int64_t{1} << 31) / kernels::kBlockTokens;

// Bytes of one block of kBlockTokens positions: keys and values of this rank's heads in all layers.
int64_t KvBlockBytes(const device::Device& device, const ModelConfig& config,
                     const parallel::Shard& shard, kernels::DType dtype);

// Whole blocks that fit into `bytes`; 0 if none does.
int64_t NumKvBlocksThatFit(int64_t bytes, int64_t block_bytes);

class KvCache {
 public:
  // Returns RESOURCE_EXHAUSTED with the sums if the memory is not there, INVALID_ARGUMENT if
  // num_blocks is not in [1, kMaxKvBlocks).
  static absl::StatusOr<KvCache> Create(device::Device& device, const ModelConfig& config,
                                        const parallel::Shard& shard, kernels::DType dtype,
                                        int64_t num_blocks);

  // The view that kernels get.
  kernels::KvCacheLayer Layer(int layer) const;

  int64_t num_blocks() const { return first_layer_.num_blocks; }
  int64_t num_tokens() const { return num_blocks() * kernels::kBlockTokens; }
  int64_t bytes() const { return memory_->bytes(); }

  // Holds nothing; to be assigned to.
  KvCache() = default;

 private:
  std::unique_ptr<device::Memory> memory_;  // [num_layers][keys, values][num_blocks] blocks
  kernels::KvCacheLayer first_layer_;
  int64_t plane_bytes_ = 0;  // keys (or values) of all blocks of one layer
};

}  // namespace quartet::model
