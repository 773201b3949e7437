// The expected values were computed once with ROPE_INIT_FUNCTIONS of transformers 5.23.0, which
// works in float32: hence the tolerance of 1e-6, relative.
#include "worker/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quartet::model {
namespace {

using Type = RopeConfig::Type;

constexpr int kHeadDim = 16;

void ExpectFrequencies(const RopeConfig& rope, int64_t max_model_len, double attention_factor,
                       const std::vector<double>& expected) {
  const auto result = ComputeRopeFrequencies(rope, kHeadDim, max_model_len);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->attention_factor, attention_factor, 1e-14);
  ASSERT_EQ(result->inverse_frequencies.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(result->inverse_frequencies[i] / expected[i], 1, 1e-6) << "pair " << i;
  }
}

RopeConfig Yarn(double theta, double factor, int64_t original) {
  RopeConfig rope;
  rope.type = Type::kYarn;
  rope.theta = theta;
  rope.factor = factor;
  rope.original_max_position_embeddings = original;
  return rope;
}

TEST(RopeFrequenciesTest, NoneIsPlainPowers) {
  ExpectFrequencies({}, 2048, 1,
                    {1, 0.31622777, 0.1, 0.031622777, 0.01, 0.0031622777, 0.001, 0.00031622777});
}

TEST(RopeFrequenciesTest, LinearDividesByTheFactor) {
  RopeConfig rope;
  rope.type = Type::kLinear;
  rope.factor = 4;
  rope.original_max_position_embeddings = 2048;
  ExpectFrequencies(rope, 8192, 1,
                    {0.25, 0.079056941, 0.025, 0.0079056947, 0.0024999999, 0.00079056947,
                     0.00025000001, 7.9056947e-05});
}

TEST(RopeFrequenciesTest, DynamicIsFixedFromTheServedLength) {
  RopeConfig rope;
  rope.type = Type::kDynamic;
  rope.factor = 2;
  rope.original_max_position_embeddings = 2048;
  ExpectFrequencies(rope, 4096, 1,
                    {1.0, 0.27029613, 0.073059998, 0.019747833, 0.0053377626, 0.0014427766,
                     0.00038997692, 0.00010540926});
}

TEST(RopeFrequenciesTest, DynamicKeepsPlainFrequenciesWithinTheOriginalContext) {
  RopeConfig rope;
  rope.type = Type::kDynamic;
  rope.factor = 2;
  rope.original_max_position_embeddings = 2048;
  ExpectFrequencies(rope, 1024, 1,
                    {1, 0.31622777, 0.1, 0.031622777, 0.01, 0.0031622777, 0.001, 0.00031622777});
}

TEST(RopeFrequenciesTest, Yarn) {
  ExpectFrequencies(Yarn(1e4, 4, 512), 2048, 1.138629436111989,
                    {1.0, 0.25693506, 0.0625, 0.013834965, 0.0024999999, 0.00079056947,
                     0.00025000001, 7.9056947e-05});
}

TEST(RopeFrequenciesTest, YarnAsInQwen25Instruct) {
  ExpectFrequencies(Yarn(1e6, 4, 32768), 131072, 1.138629436111989,
                    {1.0, 0.17782794, 0.031622779, 0.0042175599, 0.00050000002, 4.4456985e-05,
                     7.9056936e-06, 1.4058534e-06});
}

TEST(RopeFrequenciesTest, YarnWithBetasAndMscales) {
  RopeConfig rope = Yarn(1e4, 40, 4096);
  rope.beta_fast = 16;
  rope.beta_slow = 2;
  rope.mscale = 1.0;
  rope.mscale_all_dim = 0.707;
  ExpectFrequencies(rope, 163840, 1.0857263992561355,
                    {1.0, 0.31622776, 0.1, 0.031622779, 0.0067499992, 0.0011067971, 2.4999999e-05,
                     7.9056945e-06});
}

TEST(RopeFrequenciesTest, YarnTakesAnAttentionFactorThatIsGiven) {
  RopeConfig rope = Yarn(1e4, 4, 512);
  rope.attention_factor = 1.25;
  ExpectFrequencies(rope, 2048, 1.25,
                    {1.0, 0.25693506, 0.0625, 0.013834965, 0.0024999999, 0.00079056947,
                     0.00025000001, 7.9056947e-05});
}

TEST(RopeFrequenciesTest, Llama3) {
  RopeConfig rope;
  rope.type = Type::kLlama3;
  rope.theta = 500000;
  rope.factor = 8;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_max_position_embeddings = 1024;
  ExpectFrequencies(rope, 8192, 1,
                    {1.0, 0.19392276, 0.037606031, 0.0013125695, 0.00017677668, 3.4281024e-05,
                     6.6478697e-06, 1.2891732e-06});
  rope.factor = 32;
  rope.original_max_position_embeddings = 8192;
  ExpectFrequencies(rope, 131072, 1,
                    {1.0, 0.19392276, 0.037606031, 0.0072926651, 0.00042955671, 8.5702559e-06,
                     1.6619674e-06, 3.2229329e-07});
}

TEST(RopeFrequenciesTest, NumbersWithoutAResultAreRefusedByName) {
  const auto result = ComputeRopeFrequencies(Yarn(1, 4, 512), kHeadDim, 2048);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(result.status().message().find("yarn"), absl::string_view::npos) << result.status();
}

}  // namespace
}  // namespace quartet::model
