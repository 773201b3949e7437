// What a decoder refuses, and what follows from the shape of a step alone. That its numbers are
// right is shown by tests/golden/model.
#include "worker/model/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "common/logging.h"
#include "tests/golden/golden_weights.h"
#include "worker/device/cpu_device.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/single_rank_communicator.h"

namespace quartet::model {
namespace {

using testing::HasSubstr;

constexpr int64_t kVocabSize = 50;
constexpr int64_t kBlocks = 4;

ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = kVocabSize;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.qkv_bias = true;
  config.max_position_embeddings = 64;
  return config;
}

class DecoderTest : public testing::Test {
 protected:
  void SetUp() override {
    common::SetLogLevel(common::LogLevel::kWarning);
    std::string directory = testing::TempDir() + "/quartet_decoder_XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    ASSERT_TRUE(golden::WriteGoldenModel(directory, config_, 1, {}).ok());
    const auto checkpoint = OpenCheckpoint(directory);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    auto weights = LoadWeights(**checkpoint, config_, shard_, *device_);
    std::filesystem::remove_all(directory);
    ASSERT_TRUE(weights.ok()) << weights.status();
    options_.max_step_tokens = 8;
    options_.max_logits_rows = 2;
    options_.num_kv_blocks = kBlocks;
    options_.max_model_len = 64;
    options_.sample_limit = 40;
    weights_ = *std::move(weights);
  }

  absl::StatusOr<std::unique_ptr<Decoder>> NewDecoder() {
    return Decoder::Create(config_, std::move(weights_), shard_, *device_, communicator_, options_);
  }

  // A prompt of three tokens in block 2.
  static StepInput Prompt() {
    StepInput input;
    input.token_ids = {1, 2, 3};
    input.positions = {0, 1, 2};
    input.slot_mapping = {32, 33, 34};
    input.query_start = {0, 3};
    input.kv_len = {3};
    input.block_tables = {2, -1};  // what lies behind kv_len is never read
    input.max_blocks = 2;
    input.logits_rows = {2};
    return input;
  }

  static std::vector<float> Logits(Decoder& decoder, int64_t row) {
    std::vector<float> logits(kVocabSize);
    const absl::Status status = decoder.ReadLogits(row, std::span<float>(logits));
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }

  const ModelConfig config_ = SmallConfig();
  const parallel::Shard shard_ = *parallel::MakeShard(ShardedSizesOf(config_), 0, 1);
  const std::unique_ptr<device::Device> device_ = *device::NewCpuDevice({.num_threads = 2});
  parallel::SingleRankCommunicator communicator_;
  ModelWeights weights_;
  DecoderOptions options_;
};

// Says what the decoder asked of it.
class CountingCommunicator : public parallel::SingleRankCommunicator {
 public:
  absl::Status AllReduceSegments(device::Queue& queue, kernels::DevicePtr<const float> segments,
                                 int num_segments, int64_t count,
                                 kernels::DevicePtr<float> out) override {
    counts.push_back(count);
    return SingleRankCommunicator::AllReduceSegments(queue, segments, num_segments, count, out);
  }
  std::vector<int64_t> counts;
};

TEST_F(DecoderTest, AStepWithoutTokensIsAProbe) {
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  CountingCommunicator counting;
  ASSERT_TRUE((*decoder)->JoinGroup(counting, kBlocks).ok());
  ASSERT_TRUE((*decoder)->Forward(StepInput()).ok());
  EXPECT_EQ(counting.counts, std::vector<int64_t>{16});
}

TEST_F(DecoderTest, TheNextGroupGetsTheSameBits) {
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  ASSERT_TRUE((*decoder)->Forward(Prompt()).ok());
  const std::vector<float> logits = Logits(**decoder, 0);
  communicator_.Abort();
  EXPECT_EQ((*decoder)->Forward(Prompt()).code(), absl::StatusCode::kAborted);
  for (const int64_t num_blocks : {kBlocks, 2 * kBlocks, kBlocks - 1}) {
    parallel::SingleRankCommunicator next;
    ASSERT_TRUE((*decoder)->JoinGroup(next, num_blocks).ok());
    EXPECT_EQ((*decoder)->kv_cache().num_blocks(), num_blocks);
    ASSERT_TRUE((*decoder)->Forward(Prompt()).ok());
    EXPECT_EQ(Logits(**decoder, 0), logits);
  }
}

TEST_F(DecoderTest, RefusesStepsThatDoNotFit) {
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  const auto expect_refused = [&](const std::string& message, auto change) {
    StepInput input = Prompt();
    change(input);
    const absl::Status status = (*decoder)->Forward(input);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  expect_refused("9 tokens", [](StepInput& input) { input.token_ids.resize(9); });
  expect_refused("3 rows of logits", [](StepInput& input) { input.logits_rows = {0, 1, 2}; });
  expect_refused("don't fit together", [](StepInput& input) { input.positions.pop_back(); });
  expect_refused("don't fit together", [](StepInput& input) { input.query_start = {0, 2}; });
  expect_refused("don't fit together", [](StepInput& input) { input.max_blocks = 3; });
  expect_refused("2 in the cache", [](StepInput& input) { input.kv_len = {2}; });
  expect_refused("33 in the cache", [](StepInput& input) { input.kv_len = {33}; });
  expect_refused("block table", [](StepInput& input) { input.block_tables[0] = kBlocks; });
  expect_refused("block table", [](StepInput& input) { input.block_tables[0] = -1; });
  expect_refused("token id", [](StepInput& input) { input.token_ids[1] = kVocabSize; });
  expect_refused("slot", [](StepInput& input) { input.slot_mapping[1] = 16 * kBlocks; });
  expect_refused("row of logits", [](StepInput& input) { input.logits_rows[0] = 3; });
  EXPECT_TRUE((*decoder)->Forward(Prompt()).ok());
}

TEST_F(DecoderTest, ASampledIdLiesBelowTheLimit) {
  options_.sample_limit = 1;
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  ASSERT_TRUE((*decoder)->Forward(Prompt()).ok());
  std::vector<kernels::SampledToken> sampled;
  ASSERT_TRUE((*decoder)->Sample(std::vector<kernels::SampleRow>(1), &sampled).ok());
  ASSERT_EQ(sampled.size(), 1u);
  EXPECT_EQ(sampled[0].token_id, 0);
}

TEST_F(DecoderTest, SamplesOnlyRowsOfTheLastStep) {
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  std::vector<kernels::SampledToken> sampled;
  kernels::SampleRow row;
  EXPECT_EQ((*decoder)->Sample(std::span(&row, 1), &sampled).code(),
            absl::StatusCode::kInvalidArgument);
  StepInput input = Prompt();
  ASSERT_TRUE((*decoder)->Forward(input).ok());
  EXPECT_TRUE((*decoder)->Sample(std::span(&row, 1), &sampled).ok());
  // A step without logits leaves none.
  input.logits_rows.clear();
  ASSERT_TRUE((*decoder)->Forward(input).ok());
  EXPECT_EQ((*decoder)->Sample(std::span(&row, 1), &sampled).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DecoderTest, LogitsRowsMayBeAnyOfTheStep) {
  const auto decoder = NewDecoder();
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  StepInput input = Prompt();
  input.logits_rows = {0, 2};
  ASSERT_TRUE((*decoder)->Forward(input).ok());
  const std::vector<float> first = Logits(**decoder, 0);
  const std::vector<float> last = Logits(**decoder, 1);
  EXPECT_NE(first, last);
  input.logits_rows = {2};
  ASSERT_TRUE((*decoder)->Forward(input).ok());
  EXPECT_EQ(Logits(**decoder, 0), last);
}

TEST_F(DecoderTest, RefusesOptionsThatCannotWork) {
  options_.sample_limit = kVocabSize + 1;
  EXPECT_EQ(NewDecoder().status().code(), absl::StatusCode::kInvalidArgument);
  options_.sample_limit = 0;
  options_.num_kv_blocks = 0;
  EXPECT_THAT(std::string(NewDecoder().status().message()), HasSubstr("KV cache"));
  options_.num_kv_blocks = 1;
  options_.max_step_tokens = int64_t{1} << 40;
  const absl::Status status = NewDecoder().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("activations"));
}

TEST_F(DecoderTest, BufferBytesCountWhatIsAllocated) {
  const int64_t bytes = DecoderBuffersBytes(config_, shard_, options_);
  const auto buffers = CreateDecoderBuffers(*device_, config_, shard_, options_);
  ASSERT_TRUE(buffers.ok()) << buffers.status();
  EXPECT_EQ(buffers->memory->bytes(), bytes);
  // The frequencies are the last array.
  const char* end = buffers->inverse_frequencies.As<char>().raw() + 8 * config_.head_dim / 2;
  EXPECT_LE(end, buffers->memory->data().As<char>().raw() + bytes);
}

}  // namespace
}  // namespace quartet::model
