// What running ahead and sharing prefixes look like from outside the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "worker/engine/engine.h"
#include "worker/engine/testing/engine_harness.h"

namespace quartet::engine {
namespace {

using ::testing::HasSubstr;

std::vector<int32_t> Prompt(int64_t length) {
  std::vector<int32_t> prompt(length);
  for (int64_t i = 0; i < length; ++i) prompt[i] = static_cast<int32_t>((i * 7 + i / 9) % 50);
  return prompt;
}

SequenceRequest LongRequest(uint64_t id, int64_t prompt, int64_t max_tokens) {
  SequenceRequest request = NewRequest(id, Prompt(prompt), max_tokens);
  request.sampling.ignore_eos = true;
  request.eos_token_ids.clear();
  return request;
}

TEST(EnginePipelineTest, TheNextStepIsPlannedBeforeTheResultIsThere) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(LongRequest(1, 3, 10)).ok());
  ASSERT_TRUE(*harness.engine->RunStep());
  ASSERT_EQ(harness.plans.size(), 1u);
  EXPECT_TRUE(harness.model.inputs.empty());
  ASSERT_TRUE(*harness.engine->RunStep());
  ASSERT_EQ(harness.plans.size(), 2u);
  EXPECT_EQ(harness.model.inputs.size(), 1u);
  EXPECT_EQ(harness.plans[1].token_ids, std::vector<int32_t>{kSampledToken});
}

TEST(EnginePipelineTest, LengthIsForeseenAndAnEndIdCostsOneSurplusToken) {
  Harness by_length;
  ASSERT_TRUE(by_length.engine->Submit(LongRequest(1, 3, 10)).ok());
  by_length.RunUntilIdle();
  EXPECT_EQ(by_length.plans.size(), 10u);

  Harness by_id;
  SequenceRequest request = NewRequest(1, Prompt(3), 10);
  request.sampling.logit_bias = {{kEos, 100.0f}};
  ASSERT_TRUE(by_id.engine->Submit(request).ok());
  by_id.RunUntilIdle();
  EXPECT_EQ(by_id.plans.size(), 2u) << "one more than needed";
  EXPECT_EQ((by_id.outputs[{1, 1}].token_ids), std::vector<int32_t>{kEos});
  EXPECT_EQ(by_id.engine->load().num_used_blocks, 0);
}

TEST(EnginePipelineTest, ASecondTurnFindsTheFirstOnesBlocks) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(LongRequest(1, 70, 30)).ok());
  harness.RunUntilIdle();
  SequenceRequest second = LongRequest(2, 70, 5);
  const std::vector<int32_t>& answer = harness.outputs[{1, 1}].token_ids;
  second.prompt_ids.insert(second.prompt_ids.end(), answer.begin(), answer.end());
  second.prompt_ids.push_back(11);
  ASSERT_TRUE(harness.engine->Submit(second).ok());
  harness.RunUntilIdle();
  // 101 tokens, of which 99 were computed before: 6 full blocks.
  EXPECT_EQ(harness.engine->load().counters.num_prefix_hit_tokens, 96u);
  EXPECT_EQ((harness.outputs[{1, 2}].cached_tokens), 96u);
  EXPECT_EQ((harness.outputs[{1, 1}].cached_tokens), 0u);
  EXPECT_EQ((harness.outputs[{1, 2}].token_ids), RunAlone(second).token_ids);
}

TEST(EnginePipelineTest, SaltsAndPromptLogprobsFindNothing) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(LongRequest(1, 70, 2)).ok());
  harness.RunUntilIdle();
  SequenceRequest salted = LongRequest(2, 70, 2);
  salted.cache_salt = "somebody else";
  SequenceRequest reported = LongRequest(3, 70, 2);
  reported.sampling.num_prompt_logprobs = 1;
  ASSERT_TRUE(harness.engine->Submit(salted).ok());
  ASSERT_TRUE(harness.engine->Submit(reported).ok());
  harness.RunUntilIdle();
  EXPECT_EQ(harness.engine->load().counters.num_prefix_hit_tokens, 0u);
  EXPECT_EQ((harness.outputs[{1, 3}].prompt_logprobs.size()), 69u);
}

TEST(EnginePipelineTest, AnswersToOnePromptShareItsBlocksFromTheFirstStepOn) {
  EngineOptions options = TestOptions();
  options.scheduler.max_num_batched_tokens = 200;
  Harness harness(options);
  for (uint32_t choice = 0; choice < 4; ++choice) {
    SequenceRequest request = LongRequest(1 + choice, 70, 3);
    request.choice_index = choice;
    ASSERT_TRUE(harness.engine->Submit(request).ok());
  }
  ASSERT_TRUE(*harness.engine->RunStep());
  // 70 tokens take 5 blocks, of which 4 are full and shared.
  EXPECT_EQ(harness.engine->load().num_used_blocks, 4 + 4);
  EXPECT_EQ(harness.plans[0].token_ids.size(), 70u + 3 * 6);
  harness.RunUntilIdle();
  for (uint32_t choice = 0; choice < 4; ++choice) {
    SequenceRequest request = LongRequest(1 + choice, 70, 3);
    request.choice_index = choice;
    EXPECT_EQ((harness.outputs[{1, 1 + choice}].token_ids), RunAlone(request).token_ids);
  }
}

TEST(EnginePipelineTest, TheQueueIsBoundedByTokensToo) {
  EngineOptions options = TestOptions();
  options.max_waiting_tokens = 100;
  Harness harness(options);
  ASSERT_TRUE(harness.engine->Submit(LongRequest(1, 150, 2)).ok()) << "alone it may be longer";
  const absl::Status status = harness.engine->Submit(LongRequest(2, 60, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("150 tokens of prompts wait and 60"));
  EXPECT_EQ(harness.engine->load().num_waiting_tokens, 150);
  ASSERT_TRUE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_waiting_tokens, 0);
  EXPECT_TRUE(harness.engine->Submit(LongRequest(3, 60, 2)).ok());
}

TEST(EnginePipelineTest, ACancelledSequenceIsNotReadAfterItsEnd) {
  // Under AddressSanitizer this fails if a step in flight outlives what it samples for.
  Harness harness;
  for (uint64_t id = 1; id <= 6; ++id) {
    SequenceRequest request = LongRequest(id, 20, 40);
    request.sampling.repetition_penalty = 1.3f;
    ASSERT_TRUE(harness.engine->Submit(request).ok());
  }
  for (uint64_t id = 1; id <= 6; ++id) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(*harness.engine->RunStep());
    harness.engine->Cancel({1, id});
  }
  harness.RunUntilIdle();
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
}

}  // namespace
}  // namespace quartet::engine
