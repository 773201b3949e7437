// Peak memory of loading. A binary of its own: the peak is the process's.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/golden/golden_weights.h"
#include "worker/model/testing/fake_device.h"
#include "worker/model/testing/model_files.h"
#include "worker/model/weight_loader.h"

namespace quartet::model {
namespace {

int64_t PeakBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word != "VmHWM:") continue;
    int64_t kilobytes = 0;
    status >> kilobytes;
    return kilobytes * 1024;
  }
  ADD_FAILURE() << "no VmHWM";
  return 0;
}

TEST(WeightLoaderMemoryTest, ThePeakStaysNearThePackedBytes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory counts in VmHWM";
#endif
  ModelConfig config;
  config.vocab_size = 32000;
  config.hidden_size = 2048;
  config.intermediate_size = 8192;
  config.num_layers = 3;
  config.num_heads = 16;
  config.num_kv_heads = 2;
  config.head_dim = 128;
  config.qkv_bias = true;
  config.max_position_embeddings = 1024;
  const testing::TemporaryDirectory directory;
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, 1, {}).ok());
  const int64_t before = PeakBytes();
  ASSERT_LT(before, 64 << 20) << "writing the model took memory that hides what loading takes";

  const auto checkpoint = OpenCheckpoint(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_GT((*checkpoint)->file_bytes(), 560 << 20);
  testing::FakeDevice device;
  const auto shard = parallel::MakeShard(ShardedSizesOf(config), 0, 1);
  const auto weights = LoadWeights(**checkpoint, config, *shard, device);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const int64_t beyond = PeakBytes() - weights->weight_bytes;
  RecordProperty("bytes_beyond_the_weights", std::to_string(beyond));
  // The promise is 512 MB; the file's pages alone would break this bound if they were kept.
  EXPECT_LT(beyond, 128 << 20);
}

}  // namespace
}  // namespace quartet::model
