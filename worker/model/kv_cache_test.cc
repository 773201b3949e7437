#include "worker/model/kv_cache.h"

#include <gtest/gtest.h>

#include "worker/device/cpu_device.h"

namespace quartet::model {
namespace {

using kernels::DType;

// Qwen2.5-7B's sizes that the cache depends on.
ModelConfig Config() {
  ModelConfig config;
  config.num_layers = 28;
  config.num_heads = 28;
  config.num_kv_heads = 4;
  config.head_dim = 128;
  config.intermediate_size = 18944;
  config.vocab_size = 152064;
  return config;
}

parallel::Shard ShardOf(const ModelConfig& config, int world_size) {
  return *parallel::MakeShard({config.num_heads, config.num_kv_heads, config.head_dim,
                               config.intermediate_size, config.vocab_size},
                              0, world_size);
}

class KvCacheTest : public testing::Test {
 protected:
  std::unique_ptr<device::Device> device_ = *device::NewCpuDevice({.num_threads = 1});
};

TEST_F(KvCacheTest, BlockBytesAreKeysAndValuesOfAllLayers) {
  // 57,344 bytes a token in bf16, a quarter of it on each of four ranks.
  EXPECT_EQ(KvBlockBytes(*device_, Config(), ShardOf(Config(), 1), DType::kBFloat16), 16 * 57344);
  EXPECT_EQ(KvBlockBytes(*device_, Config(), ShardOf(Config(), 4), DType::kBFloat16), 16 * 14336);
  EXPECT_EQ(KvBlockBytes(*device_, Config(), ShardOf(Config(), 1), DType::kFloat32),
            2 * 16 * 57344);
}

TEST_F(KvCacheTest, CountsWholeBlocks) {
  EXPECT_EQ(NumKvBlocksThatFit(999, 1000), 0);
  EXPECT_EQ(NumKvBlocksThatFit(2999, 1000), 2);
  EXPECT_EQ(NumKvBlocksThatFit(-5, 1000), 0);
  // Slots must stay below 2^31.
  EXPECT_EQ(NumKvBlocksThatFit(int64_t{1} << 60, 1000) * kernels::kBlockTokens,
            (int64_t{1} << 31) - kernels::kBlockTokens);
}

TEST_F(KvCacheTest, LayersDoNotOverlapAndFillTheMemory) {
  const ModelConfig config = Config();
  const parallel::Shard shard = ShardOf(config, 4);
  const auto cache = KvCache::Create(*device_, config, shard, DType::kBFloat16, 3);
  ASSERT_TRUE(cache.ok()) << cache.status();
  EXPECT_EQ(cache->num_tokens(), 48);
  const int64_t plane = 3 * device_->KvBlockBytes(1, 128, DType::kBFloat16);
  const char* begin = cache->Layer(0).keys.As<char>().raw();
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const kernels::KvCacheLayer view = cache->Layer(layer);
    EXPECT_EQ(view.keys.As<char>().raw(), begin + 2 * layer * plane);
    EXPECT_EQ(view.values.As<char>().raw(), begin + (2 * layer + 1) * plane);
    EXPECT_EQ(view.num_blocks, 3);
    EXPECT_EQ(view.num_kv_heads, 1);
    EXPECT_EQ(view.head_dim, 128);
  }
  EXPECT_EQ(cache->bytes(), 2 * config.num_layers * plane);
}

TEST_F(KvCacheTest, RefusesWhatDoesNotFit) {
  const ModelConfig config = Config();
  const parallel::Shard shard = ShardOf(config, 1);
  EXPECT_EQ(KvCache::Create(*device_, config, shard, DType::kBFloat16, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto huge = KvCache::Create(*device_, config, shard, DType::kBFloat16, kMaxKvBlocks - 1);
  EXPECT_EQ(huge.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(huge.status().message().find("KV cache"), absl::string_view::npos) << huge.status();
}

}  // namespace
}  // namespace quartet::model
