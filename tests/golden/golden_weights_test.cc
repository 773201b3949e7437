#include "tests/golden/golden_weights.h"

#include <gtest/gtest.h>

#include <cmath>

#include "worker/model/hf_config.h"

namespace quartet::golden {
namespace {

// Values of an independent transcription of the header's formula in Python.
TEST(GoldenWeightsTest, TheFormulaGivesTheSameBitsAsInPython) {
  const GoldenTensor matrix = {"model.layers.0.mlp.up_proj.weight", {64, 64}, std::sqrt(3.0 / 64)};
  const GoldenTensor norm = {"model.norm.weight", {64}, 0.25, 1};
  const struct {
    int64_t index;
    uint16_t matrix;
    uint16_t norm;
  } expected[] = {{0, 0x3d7c, 0x3f40},
                  {1, 0x3e2f, 0x3f95},
                  {2, 0xbdc1, 0x3f88},
                  {1000, 0x3e33, 0x3f9a},
                  {int64_t{1} << 33, 0x3d49, 0x3f96}};
  for (const auto& e : expected) {
    EXPECT_EQ(GoldenValues(matrix, 42, e.index, 1)[0].bits, e.matrix) << e.index;
    EXPECT_EQ(GoldenValues(norm, 42, e.index, 1)[0].bits, e.norm) << e.index;
  }
}

TEST(GoldenWeightsTest, TheConfigReadsBackAsItWas) {
  model::ModelConfig config;
  config.architecture = model::Architecture::kLlama;
  config.vocab_size = 300;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 24;
  config.rms_norm_eps = 1e-5f;
  config.tie_word_embeddings = true;
  config.max_position_embeddings = 512;
  config.rope.type = model::RopeConfig::Type::kLlama3;
  config.rope.theta = 500000;
  config.rope.factor = 8;
  config.rope.original_max_position_embeddings = 64;
  config.eos_token_ids = {1, 2};
  const auto read = model::ParseHfConfig(GoldenConfigJson(config), "config.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(GoldenConfigJson(*read), GoldenConfigJson(config));
  EXPECT_EQ(read->rms_norm_eps, config.rms_norm_eps);
  EXPECT_EQ(read->eos_token_ids, config.eos_token_ids);
  EXPECT_EQ(read->rope.original_max_position_embeddings, 64);
}

}  // namespace
}  // namespace quartet::golden
