#include "worker/simulated/step_time.h"

#include <gtest/gtest.h>

#include "worker/model/weight_loader.h"

namespace quartet::simulated {
namespace {

// Qwen2.5-7B, as its config.json says.
model::ModelConfig Qwen7B() {
  model::ModelConfig config;
  config.vocab_size = 152064;
  config.hidden_size = 3584;
  config.intermediate_size = 18944;
  config.num_layers = 28;
  config.num_heads = 28;
  config.num_kv_heads = 4;
  config.head_dim = 128;
  config.qkv_bias = true;
  return config;
}

StepTime OnProfile(const std::string& name, int world_size) {
  const model::ModelConfig config = Qwen7B();
  return StepTime(*ReadProfile(name), config,
                  *parallel::MakeShard(model::ShardedSizesOf(config), 0, world_size));
}

// One sequence's next token after `context` positions.
StepWork Decode(int64_t num_sequences, int64_t context) {
  return {num_sequences, num_sequences, num_sequences * (context + 1),
          num_sequences * (context + 1)};
}

// Times below in microseconds, worked out by hand from the sizes and the profile's numbers.
double Micros(const StepTime& time, const StepWork& work) { return time.Seconds(work) * 1e6; }

TEST(StepTimeTest, FourGpusHoldAQuarterEach) {
  const StepTime time = OnProfile("4xrtx4090-bf16", 4);
  // Layers 58,261,504 x 28, embedding and lm_head 136,249,344 each; norms and biases 236,0xx.
  EXPECT_NEAR(static_cast<double>(time.weight_bytes()), 3.8082e9, 1e6);
  EXPECT_EQ(time.kv_bytes_per_token(), 14336);
}

TEST(StepTimeTest, ADecodeStepReadsTheWeightsOnce) {
  const StepTime time = OnProfile("4xrtx4090-bf16", 4);
  // 3.262644 GB of layers and 0.272499 GB of lm_head at 1008 GB/s: 3236.7 + 270.3 = 3507.1.
  const double weights = 3507.1;
  const double kv = 14336 * 1.0 / 1008e9 * 1e6;
  // 57 all-reduces of 7168 bytes and a gather of 3 * 38016 * 2 bytes, 20 us and 12 GB/s.
  const double exchange = 57 * (20 + 7168 / 12e3) + 20 + 228096 / 12e3;
  EXPECT_NEAR(Micros(time, Decode(1, 0)), weights + kv + exchange + 60, 0.2);
}

TEST(StepTimeTest, ManySequencesShareTheWeightsAndAddTheirCaches) {
  const StepTime time = OnProfile("4xrtx4090-bf16", 4);
  const double kv = 256.0 * 1000 * 14336 / 1008e9 * 1e6;  // 3640.9
  const double exchange = 57 * (20 + 256 * 7168 / 12e3) + 20 + 256 * 228096 / 12e3;
  // At 256 tokens arithmetic takes longer than reading: 2 * 256 * (1,631,322,112 + 136,249,344)
  // operations at 165.2 TFLOP/s.
  const double products = 5478.2;
  EXPECT_NEAR(Micros(time, Decode(256, 999)), products + kv + exchange + 60, 0.2);
  // At 32 it doesn't.
  EXPECT_NEAR(Micros(time, Decode(32, 999)),
              3507.1 + kv / 8 + 57 * (20 + 32 * 7168 / 12e3) + 20 + 32 * 228096 / 12e3 + 60, 0.2);
}

TEST(StepTimeTest, APromptChunkIsBoundByArithmetic) {
  const StepTime time = OnProfile("4xrtx4090-bf16", 4);
  const int64_t n = 2048;
  const StepWork chunk = {n, 0, n, n * (n + 1) / 2};
  const double products = 2.0 * 1631322112 * n / 165.2e12 * 1e6;  // 40447
  const double attention = 4.0 * (n * (n + 1) / 2) * 7 * 128 * 28 / 165.2e12 * 1e6;
  const double exchange = 57 * (20 + n * 7168 / 12e3);
  EXPECT_NEAR(Micros(time, chunk), products + attention + exchange + 60, 1);
}

TEST(StepTimeTest, OneGpuExchangesNothing) {
  const StepTime time = OnProfile("1xrtx4090-bf16", 1);
  // 13.050577 GB of layers and 1.089995 GB of lm_head: 14.14 GB at 1008 GB/s.
  EXPECT_NEAR(Micros(time, Decode(1, 0)), 12947.0 + 1081.3 + 57344 / 1008e3 + 60, 0.5);
  EXPECT_EQ(time.kv_bytes_per_token(), 57344);
}

TEST(StepTimeTest, AnEmptyStepTakesNoTime) {
  EXPECT_EQ(OnProfile("4xrtx4090-bf16", 4).Seconds({}), 0);
}

TEST(StepTimeTest, WorkIsCountedFromTheInput) {
  model::StepInput input;
  input.token_ids = {1, 2, 3, 4};
  input.positions = {5, 6, 7, 30};
  input.query_start = {0, 3, 4};
  input.kv_len = {8, 31};
  input.logits_rows = {2, 3};
  const StepWork work = WorkOf(input);
  EXPECT_EQ(work.num_tokens, 4);
  EXPECT_EQ(work.num_logits, 2);
  EXPECT_EQ(work.kv_tokens, 39);
  EXPECT_EQ(work.attention_pairs, 6 + 7 + 8 + 31);
}

}  // namespace
}  // namespace quartet::simulated
