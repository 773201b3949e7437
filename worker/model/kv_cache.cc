#include "worker/model/kv_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::model {

int64_t KvBlockBytes(const device::Device& device, const ModelConfig& config,
                     const parallel::Shard& shard, kernels::DType dtype) {
  return 2 * config.num_layers * device.KvBlockBytes(shard.num_kv_heads, shard.head_dim, dtype);
}

int64_t NumKvBlocksThatFit(int64_t bytes, int64_t block_bytes) {
  if (bytes <= 0) return 0;
  return std::min(bytes / block_bytes, kMaxKvBlocks - 1);
}

absl::StatusOr<KvCache> KvCache::Create(device::Device& device, const ModelConfig& config,
                                        const parallel::Shard& shard, kernels::DType dtype,
                                        int64_t num_blocks) {
  if (num_blocks < 1 || num_blocks >= kMaxKvBlocks) {
    return absl::InvalidArgumentError(
        absl::StrCat("the KV cache has ", num_blocks, " blocks; it needs 1 to ", kMaxKvBlocks - 1));
  }
  KvCache cache;
  const int64_t block_bytes = KvBlockBytes(device, config, shard, dtype);
  auto memory = device.Allocate(num_blocks * block_bytes);
  if (!memory.ok()) {
    return absl::Status(
        memory.status().code(),
        absl::StrCat("the KV cache of ", num_blocks, " blocks of ", block_bytes,
                     " bytes: ", memory.status().message(), "; give it less memory"));
  }
  cache.memory_ = *std::move(memory);
  cache.plane_bytes_ = num_blocks * block_bytes / (2 * config.num_layers);
  cache.first_layer_.keys = cache.memory_->data();
  cache.first_layer_.dtype = dtype;
  cache.first_layer_.num_blocks = num_blocks;
  cache.first_layer_.num_kv_heads = shard.num_kv_heads;
  cache.first_layer_.head_dim = shard.head_dim;
  return cache;
}

kernels::KvCacheLayer KvCache::Layer(int layer) const {
  kernels::KvCacheLayer view = first_layer_;
  const auto base = first_layer_.keys.As<char>();
  view.keys = (base + 2 * layer * plane_bytes_).As<void>();
  view.values = (base + (2 * layer + 1) * plane_bytes_).As<void>();
  return view;
}

}  // namespace quartet::model
