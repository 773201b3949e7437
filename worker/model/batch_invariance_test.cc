// A text's logits are the same bits whether it is computed alone or among others, in one step or in
// chunks, on blocks of its own or on another text's, by one thread or several, by one rank or two;
// on every instruction set that this CPU has. Random batches show it, and counters show that they
// went through every path of the kernels. QUARTET_TEST_SEED gives other batches.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>

#include "common/logging.h"
#include "kernels/cpu/instruction_set.h"
#include "worker/model/testing/decoder_group.h"
#include "worker/model/testing/kernel_paths.h"
#include "worker/model/testing/random_batches.h"

namespace quartet::model {
namespace {

using kernels::DType;
using kernels::kBlockTokens;
using testing::DecoderGroup;
using testing::Text;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int64_t kMaxTextTokens = 640;
constexpr uint64_t kModelSeed = 7;

uint64_t Seed() {
  const char* value = std::getenv("QUARTET_TEST_SEED");
  return value == nullptr ? 1 : std::strtoull(value, nullptr, 10);
}

// Sizes that divide nothing evenly: heads in groups of three, ragged vectors, panels and pairs.
ModelConfig SmallQwen2() {
  ModelConfig config;
  config.architecture = Architecture::kQwen2;
  config.vocab_size = 131;
  config.hidden_size = 78;
  config.intermediate_size = 108;
  config.num_layers = 2;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 26;
  config.qkv_bias = true;
  config.tie_word_embeddings = true;
  config.max_position_embeddings = kMaxTextTokens;
  config.rope.theta = 1000000;
  return config;
}

// Even sizes, a KV head for each query head, an output matrix of its own.
ModelConfig SmallLlama() {
  ModelConfig config;
  config.architecture = Architecture::kLlama;
  config.vocab_size = 192;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 4;
  config.head_dim = 16;
  config.max_position_embeddings = kMaxTextTokens;
  config.rope.type = RopeConfig::Type::kLlama3;
  config.rope.factor = 8;
  config.rope.original_max_position_embeddings = 128;
  return config;
}

class BatchInvarianceTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto instruction_set = kernels::cpu::ParseInstructionSet(GetParam());
    if (!instruction_set.ok()) GTEST_SKIP() << instruction_set.status();
    common::SetLogLevel(common::LogLevel::kWarning);
  }

  int64_t Pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  // Any sizes that a decoder takes.
  ModelConfig RandomModel() {
    ModelConfig config;
    config.architecture = Pick(0, 1) == 0 ? Architecture::kQwen2 : Architecture::kLlama;
    config.qkv_bias = config.architecture == Architecture::kQwen2;
    config.num_kv_heads = static_cast<int>(2 * Pick(1, 2));
    config.num_heads = static_cast<int>(config.num_kv_heads * Pick(1, 7));
    config.head_dim = static_cast<int>(2 * Pick(4, 20));
    config.hidden_size = 2 * Pick(17, 60);
    config.intermediate_size = 2 * config.num_kv_heads * Pick(8, 30);
    config.vocab_size = Pick(60, 300);
    config.num_layers = static_cast<int>(Pick(1, 3));
    config.tie_word_embeddings = Pick(0, 1) == 0;
    config.max_position_embeddings = kMaxTextTokens;
    return config;
  }

  // Some that reach into the third split of the cache, some into the second, many short ones; they
  // begin alike in three families.
  std::vector<Text> RandomTexts(int64_t vocab_size) {
    const int num_texts = kSanitized ? 12 : 36;
    std::vector<std::vector<int32_t>> families(3, std::vector<int32_t>(kMaxTextTokens));
    const auto fill = [&](auto begin, auto end) {
      for (auto it = begin; it != end; ++it) *it = static_cast<int32_t>(Pick(0, vocab_size - 1));
    };
    for (auto& family : families) fill(family.begin(), family.end());
    std::vector<Text> texts(num_texts);
    for (int i = 0; i < num_texts; ++i) {
      const int64_t length = i % 12 == 0   ? Pick(530, kMaxTextTokens)
                             : i % 12 == 1 ? Pick(257, 400)
                                           : Pick(1, 120);
      texts[i].tokens = families[Pick(0, 2)];
      texts[i].tokens.resize(length);
      fill(texts[i].tokens.begin() + Pick(0, length), texts[i].tokens.end());
    }
    std::shuffle(texts.begin(), texts.end(), random_);
    return texts;
  }

  std::unique_ptr<DecoderGroup> NewGroup(const ModelConfig& config, DType dtype, int world_size,
                                         int num_threads) {
    testing::DecoderGroupOptions options;
    options.instruction_set = GetParam();
    options.world_size = world_size;
    options.num_threads = num_threads;
    options.decoder.compute_dtype = dtype;
    options.decoder.max_step_tokens = kMaxTextTokens;
    options.decoder.max_logits_rows = kMaxTextTokens;
    options.decoder.num_kv_blocks = kNumBlocks;
    options.decoder.max_model_len = kMaxTextTokens;
    options.path_counters = &paths_;
    auto group = DecoderGroup::Create(config, kModelSeed, options);
    EXPECT_TRUE(group.ok()) << group.status();
    return group.ok() ? *std::move(group) : nullptr;
  }

  // Blocks for a text, from anywhere in the cache.
  std::vector<int32_t> RandomBlocks(const Text& text) {
    std::vector<int32_t> blocks(kNumBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    blocks.resize((text.tokens.size() + kBlockTokens - 1) / kBlockTokens);
    return blocks;
  }

  // The logits of all positions, computed in chunks of at most `chunk` tokens.
  std::vector<float> ComputeAlone(DecoderGroup& group, const Text& text, int64_t vocab_size,
                                  int64_t chunk) {
    const std::vector<int32_t> blocks = RandomBlocks(text);
    const int64_t length = static_cast<int64_t>(text.tokens.size());
    std::vector<float> logits(length * vocab_size);
    for (int64_t first = 0; first < length; first += chunk) {
      const int64_t count = std::min(chunk, length - first);
      EXPECT_TRUE(group.Forward(testing::StepOf(text, first, count, blocks)).ok());
      for (int64_t row = 0; row < count; ++row) {
        const auto out = std::span(logits).subspan((first + row) * vocab_size, vocab_size);
        EXPECT_TRUE(group.ReadLogits(row, out).ok());
      }
    }
    return logits;
  }

  static void ExpectSameBits(const Text& text, const std::vector<float>& logits,
                             const std::string& how) {
    ASSERT_EQ(logits.size(), text.logits.size());
    EXPECT_EQ(std::memcmp(logits.data(), text.logits.data(), logits.size() * sizeof(float)), 0)
        << "a text of " << text.tokens.size() << " tokens, " << how;
  }

  void ExpectSameBitsInRandomBatches(const std::vector<Text>& texts, const ModelConfig& config,
                                     DecoderGroup* group) {
    testing::RandomBatchesOptions options;
    options.vocab_size = config.vocab_size;
    options.num_blocks = kSanitized ? kNumBlocks / 2 : kNumBlocks;
    options.max_step_tokens = 300;
    options.max_logits_rows = 64;
    options.max_sequences = kSanitized ? 8 : 32;
    testing::RandomBatches batches(options, texts, group, &random_, &counters_);
    const absl::Status status = batches.Run();
    EXPECT_TRUE(status.ok()) << status;
  }

  void CheckModel(const ModelConfig& config, DType dtype) {
    std::vector<Text> texts = RandomTexts(config.vocab_size);
    const auto alone = NewGroup(config, dtype, /*world_size=*/1, /*num_threads=*/1);
    ASSERT_NE(alone, nullptr);
    for (Text& text : texts) {
      text.logits = ComputeAlone(*alone, text, config.vocab_size, kMaxTextTokens);
      ASSERT_TRUE(std::all_of(text.logits.begin(), text.logits.end(),
                              [](float value) { return std::isfinite(value); }));
    }
    const auto threads = NewGroup(config, dtype, /*world_size=*/1, /*num_threads=*/3);
    ASSERT_NE(threads, nullptr);
    for (size_t i = 0; i < texts.size(); i += kSanitized ? 4 : 1) {
      ExpectSameBits(texts[i], ComputeAlone(*threads, texts[i], config.vocab_size, 16),
                     "in chunks of 16");
      const int64_t chunk = Pick(1, 40);
      ExpectSameBits(texts[i], ComputeAlone(*threads, texts[i], config.vocab_size, chunk),
                     absl::StrCat("in chunks of ", chunk));
    }
    ExpectSameBitsInRandomBatches(texts, config, threads.get());
    const auto ranks = NewGroup(config, dtype, /*world_size=*/2, /*num_threads=*/1);
    ASSERT_NE(ranks, nullptr);
    ExpectSameBitsInRandomBatches(texts, config, ranks.get());
  }

  static constexpr int64_t kNumBlocks = 160;

  std::mt19937_64 random_{Seed()};
  kernels::cpu::PathCounters paths_;
  testing::BatchCounters counters_;
};

TEST_P(BatchInvarianceTest, LogitsAreTheSameBitsAloneAndInAnyBatch) {
  SCOPED_TRACE(::testing::Message() << "QUARTET_TEST_SEED=" << Seed());
  for (DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    SCOPED_TRACE(dtype == DType::kFloat32 ? "float32" : "bfloat16");
    for (const ModelConfig& config : {SmallQwen2(), SmallLlama(), RandomModel()}) {
      SCOPED_TRACE(::testing::Message()
                   << ArchitectureName(config.architecture) << " with " << config.num_heads
                   << " heads, " << config.num_kv_heads << " KV heads of " << config.head_dim
                   << ", hidden_size " << config.hidden_size << ", intermediate_size "
                   << config.intermediate_size << ", vocab_size " << config.vocab_size);
      CheckModel(config, dtype);
      if (HasFailure()) return;
    }
  }
  std::cout << "seed " << Seed() << ": " << counters_.steps << " steps, " << counters_.rows_compared
            << " rows of logits, " << counters_.full_batches << " full and "
            << counters_.mixed_batches << " mixed batches, " << counters_.preemptions
            << " preemptions, " << counters_.shared_blocks << " shared blocks, "
            << counters_.chunks_off_block_edges << " chunks off block edges\n";
  EXPECT_GT(counters_.full_batches, 0);
  EXPECT_GT(counters_.mixed_batches, 0);
  EXPECT_GT(counters_.chunks_of_16, 0);
  EXPECT_GT(counters_.chunks_off_block_edges, 0);
  EXPECT_GT(counters_.shared_blocks, 0);
  EXPECT_GT(counters_.preemptions, 0);
  for (const auto& [path, count] : testing::KernelPaths(GetParam(), paths_)) {
    EXPECT_GT(count, 0u) << path << " never ran";
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, BatchInvarianceTest,
                         ::testing::Values("avx512", "avx2", "portable"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quartet::model
