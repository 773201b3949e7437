// What a sequence gets from the engine, with a model whose tokens depend on every token in the
// cache.
#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/engine/testing/engine_harness.h"

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;

void ExpectSame(const Output& a, const Output& b) {
  EXPECT_EQ(a.token_ids, b.token_ids);
  EXPECT_EQ(a.finish_reason, b.finish_reason);
  EXPECT_EQ(a.stop_token_id, b.stop_token_id);
  EXPECT_EQ(a.error, b.error);
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  ASSERT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
  for (size_t i = 0; i < a.prompt_logprobs.size(); ++i) {
    EXPECT_EQ(a.prompt_logprobs[i].token.logprob, b.prompt_logprobs[i].token.logprob);
  }
}

TEST(EngineTest, TokensDependOnTheRequestAlone) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    EngineOptions options = TestOptions();
    // So few blocks that sequences are preempted, and small chunks.
    options.scheduler.num_blocks = 13;
    options.scheduler.max_num_batched_tokens = 8 + seed * 3;
    options.scheduler.max_prompt_logprob_rows = 5 + seed;
    Harness batch(options);
    std::vector<SequenceRequest> requests;
    for (uint64_t id = 0; id < 25; ++id) requests.push_back(RandomRequest(id, &random));
    for (const SequenceRequest& request : requests) {
      ASSERT_TRUE(batch.engine->Submit(request).ok());
      if (random() % 3 == 0) {
        ASSERT_TRUE(batch.engine->RunStep().ok());
      }
    }
    batch.RunUntilIdle();
    EXPECT_GT(batch.engine->load().counters.num_preemptions, 0u);
    for (const SequenceRequest& request : requests) {
      SCOPED_TRACE(request.request_id);
      const Output& output = batch.outputs[{1, request.key.sequence_id}];
      EXPECT_TRUE(output.ended());
      ExpectSame(output, RunAlone(request));
    }
    EXPECT_EQ(batch.engine->load().num_used_blocks, 0);
  }
}

TEST(EngineTest, AResumedSequenceGoesOnWhereItStopped) {
  std::mt19937 random(99);
  int resumed = 0;
  for (uint64_t id = 0; id < 40; ++id) {
    const SequenceRequest request = RandomRequest(id, &random);
    const Output whole = RunAlone(request);
    for (size_t cut = 1; cut < whole.token_ids.size(); cut += 1 + random() % 7) {
      SequenceRequest again = request;
      again.attempt = 1;
      again.output_ids.assign(whole.token_ids.begin(), whole.token_ids.begin() + cut);
      const Output rest = RunAlone(again);
      EXPECT_EQ(rest.token_ids,
                std::vector<int32_t>(whole.token_ids.begin() + cut, whole.token_ids.end()))
          << "request " << id << " cut at " << cut;
      EXPECT_EQ(rest.finish_reason, whole.finish_reason);
      EXPECT_TRUE(rest.prompt_logprobs.empty()) << "they were sent before";
      ++resumed;
    }
  }
  EXPECT_GT(resumed, 50);
}

TEST(EngineTest, EndIdsStopAndAreReported) {
  SequenceRequest request = NewRequest(1, {3, 4}, 50);
  request.sampling.logit_bias = {{kEos, 100.0f}};
  Output output = RunAlone(request);
  EXPECT_THAT(output.token_ids, ElementsAre(kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kStop);
  EXPECT_EQ(output.stop_token_id, kEos);

  request.sampling.min_tokens = 3;
  output = RunAlone(request);
  ASSERT_EQ(output.token_ids.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_NE(output.token_ids[i], kEos);
  EXPECT_EQ(output.token_ids[3], kEos);

  request.sampling.min_tokens = 0;
  request.sampling.ignore_eos = true;
  output = RunAlone(request);
  EXPECT_EQ(output.token_ids, std::vector<int32_t>(50, kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
  EXPECT_FALSE(output.stop_token_id.has_value());

  request.sampling.stop_token_ids = {kEos};  // a stop id ends it all the same
  output = RunAlone(request);
  EXPECT_THAT(output.token_ids, ElementsAre(kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kStop);
}

TEST(EngineTest, TheModelsOwnEndIdsCount) {
  EngineOptions options = TestOptions();
  options.eos_token_ids = {21};
  Harness harness(options);
  SequenceRequest request = NewRequest(1, {3}, 50);
  request.sampling.logit_bias = {{21, 100.0f}};
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  EXPECT_EQ((harness.outputs[{1, 1}].stop_token_id), 21);
}

TEST(EngineTest, LengthEndsAtMaxTokensAndAtTheContext) {
  SequenceRequest request = NewRequest(1, {3, 4, 5}, 9);
  request.sampling.ignore_eos = true;
  Output output = RunAlone(request);
  EXPECT_EQ(output.token_ids.size(), 9u);
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
  request.sampling.max_tokens = 5000;
  output = RunAlone(request);
  EXPECT_EQ(output.token_ids.size(), 197u);  // max_model_len 200
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
}

TEST(EngineTest, LogprobsAndPromptLogprobsAreComplete) {
  SequenceRequest request = NewRequest(1, std::vector<int32_t>(100, 9), 5);
  for (int i = 0; i < 100; ++i) request.prompt_ids[i] = i % 50;
  request.sampling.num_prompt_logprobs = 3;
  request.sampling.num_logprobs = 2;
  request.sampling.ignore_eos = true;
  const Output output = RunAlone(request);
  ASSERT_EQ(output.prompt_logprobs.size(), 99u);
  for (int i = 0; i < 99; ++i) {
    EXPECT_EQ(output.prompt_logprobs[i].token.token_id, request.prompt_ids[i + 1]);
    EXPECT_EQ(output.prompt_logprobs[i].top.size(), 3u);
    EXPECT_LT(output.prompt_logprobs[i].token.logprob, 0);
  }
  ASSERT_EQ(output.logprobs.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(output.logprobs[i].token.token_id, output.token_ids[i]);
    EXPECT_EQ(output.logprobs[i].top.size(), 2u);
  }
}

}  // namespace
}  // namespace quartet::engine
