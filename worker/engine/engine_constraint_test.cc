// Sequences with restricted tokens: grammars (a fake one here), allowed ids, banned sequences; and
// that those beside them don't notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/status_macros.h"
#include "worker/engine/testing/engine_harness.h"

namespace quartet::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Outputs whose i-th id is 10 + i or 20 + i, `length` long.
class LadderMatcher : public grammar::Matcher {
 public:
  explicit LadderMatcher(int length) : length_(length) {}
  absl::Status Accept(int32_t id) override {
    if (next_ >= length_ || (id != 10 + next_ && id != 20 + next_)) {
      return absl::InvalidArgumentError("not this id");
    }
    ++next_;
    return absl::OkStatus();
  }
  absl::Status FillMask(std::span<uint32_t> mask) override {
    RETURN_IF_ERROR(failure);
    std::fill(mask.begin(), mask.end(), 0);
    for (const int id : {10 + next_, 20 + next_}) {
      if (next_ < length_) mask[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    }
    return absl::OkStatus();
  }
  bool CanEnd() const override { return next_ == length_; }

  absl::Status failure;

 private:
  const int length_;
  int next_ = 0;
};

SequenceRequest LadderRequest(uint64_t id, int length) {
  SequenceRequest request = NewRequest(id, {1, 2, 3}, 20);
  request.matcher = std::make_shared<LadderMatcher>(length);
  return request;
}

bool IsLadder(const std::vector<int32_t>& ids, size_t length) {
  if (ids.size() != length + 1 || ids.back() != kEos) return false;
  for (size_t i = 0; i < length; ++i) {
    const int32_t base = ids[i] - static_cast<int32_t>(i);
    if (base != 10 && base != 20) return false;
  }
  return true;
}

TEST(EngineConstraintTest, OutputsFollowTheGrammarAndEndWithIt) {
  Harness harness;
  for (uint64_t id = 1; id <= 6; ++id) {
    ASSERT_TRUE(harness.engine->Submit(LadderRequest(id, 4)).ok());
  }
  harness.RunUntilIdle();
  for (uint64_t id = 1; id <= 6; ++id) {
    const Output& output = harness.outputs[{1, id}];
    EXPECT_TRUE(IsLadder(output.token_ids, 4)) << id;
    EXPECT_EQ(output.finish_reason, FinishReason::kStop);
    EXPECT_EQ(output.stop_token_id, kEos);
  }
}

TEST(EngineConstraintTest, MaxTokensCutsIt) {
  Harness harness;
  SequenceRequest request = LadderRequest(1, 9);
  request.sampling.max_tokens = 3;
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  EXPECT_EQ((harness.outputs[{1, 1}].token_ids.size()), 3);
  EXPECT_EQ((harness.outputs[{1, 1}].finish_reason), FinishReason::kLength);
}

TEST(EngineConstraintTest, WithoutAnEndIdItEndsWithTheGrammar) {
  Harness harness;
  SequenceRequest request = LadderRequest(1, 3);
  request.sampling.ignore_eos = true;
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  const Output& output = harness.outputs[{1, 1}];
  EXPECT_EQ(output.token_ids.size(), 3);
  EXPECT_EQ(output.finish_reason, FinishReason::kStop);
  EXPECT_EQ(output.stop_token_id, std::nullopt);
}

TEST(EngineConstraintTest, TheGrammarHasPrecedenceOverMinTokens) {
  Harness harness;
  SequenceRequest request = LadderRequest(1, 3);
  request.sampling.min_tokens = 15;
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  EXPECT_TRUE(IsLadder((harness.outputs[{1, 1}].token_ids), 3));
  EXPECT_EQ((harness.outputs[{1, 1}].finish_reason), FinishReason::kStop);
}

TEST(EngineConstraintTest, AnIdThatEndsIsNoText) {
  // 11 is what the grammar would take as the second id.
  Harness harness;
  SequenceRequest request = LadderRequest(1, 3);
  request.sampling.stop_token_ids = {11};
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  const std::vector<int32_t> ids = harness.outputs[{1, 1}].token_ids;
  ASSERT_EQ(ids.size(), 4);
  EXPECT_EQ(ids[1], 21);
}

TEST(EngineConstraintTest, GoesWithPenaltiesBiasAndRawLogprobs) {
  Harness harness;
  SequenceRequest request = LadderRequest(1, 5);
  request.sampling.repetition_penalty = 1.5f;
  request.sampling.frequency_penalty = 1;
  request.sampling.logit_bias = {{20, 100}, {21, 100}, {22, 100}, {23, 100}, {24, 100}};
  request.sampling.num_logprobs = 2;
  request.sampling.num_prompt_logprobs = 1;
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  const Output& output = harness.outputs[{1, 1}];
  EXPECT_THAT(output.token_ids, ElementsAre(20, 21, 22, 23, 24, kEos));
  ASSERT_EQ(output.logprobs.size(), 6);
  EXPECT_EQ(output.prompt_logprobs.size(), 2);
  // The likeliest by the raw logits are hardly what the grammar allows.
  EXPECT_GT(output.logprobs[0].token.rank, 1);
}

TEST(EngineConstraintTest, NothingLeftFailsThatSequenceAlone) {
  Harness harness;
  SequenceRequest contradiction = LadderRequest(1, 3);
  contradiction.sampling.allowed_token_ids = {10, 12, 22};
  ASSERT_TRUE(harness.engine->Submit(contradiction).ok());
  ASSERT_TRUE(harness.engine->Submit(LadderRequest(2, 3)).ok());
  harness.RunUntilIdle();
  const Output& failed = harness.outputs[{1, 1}];
  EXPECT_THAT(failed.token_ids, ElementsAre(10));
  EXPECT_EQ(failed.error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(failed.error.message()), HasSubstr("contradict"));
  EXPECT_TRUE(IsLadder((harness.outputs[{1, 2}].token_ids), 3));
}

TEST(EngineConstraintTest, AGrammarThatFailsEndsItsSequenceAlone) {
  Harness harness;
  SequenceRequest request = LadderRequest(1, 3);
  static_cast<LadderMatcher&>(*request.matcher).failure = absl::InvalidArgumentError("too slow");
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  ASSERT_TRUE(harness.engine->Submit(LadderRequest(2, 3)).ok());
  harness.RunUntilIdle();
  EXPECT_THAT(std::string((harness.outputs[{1, 1}].error.message())), HasSubstr("too slow"));
  EXPECT_TRUE(IsLadder((harness.outputs[{1, 2}].token_ids), 3));
}

TEST(EngineConstraintTest, OnlyAllowedIdsAreSampled) {
  Harness harness;
  SequenceRequest request = NewRequest(1, {1, 2}, 30);
  request.sampling.allowed_token_ids = {40, 41, 58};
  request.sample_limit = 55;
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  const std::vector<int32_t> ids = harness.outputs[{1, 1}].token_ids;
  EXPECT_EQ(ids.size(), 30);
  for (const int32_t id : ids) EXPECT_TRUE(id == 40 || id == 41) << id;
}

TEST(EngineConstraintTest, BannedSequencesDoNotAppear) {
  SequenceRequest request = NewRequest(1, {1, 2}, 40);
  request.sampling.allowed_token_ids = {40, 41, 42, 43};
  const std::vector<int32_t> free = RunAlone(request).token_ids;
  EXPECT_THAT(free, Contains(41));
  request.sampling.banned_sequences = {{41}, {40, 40}, {42, 40, 42}};
  const std::vector<int32_t> ids = RunAlone(request).token_ids;
  EXPECT_EQ(ids.size(), 40);
  EXPECT_THAT(ids, Not(Contains(41)));
  for (size_t i = 1; i < ids.size(); ++i) {
    EXPECT_FALSE(ids[i - 1] == 40 && ids[i] == 40);
    EXPECT_FALSE(i > 1 && ids[i - 2] == 42 && ids[i - 1] == 40 && ids[i] == 42);
  }
}

TEST(EngineConstraintTest, BannedAndAllowedIdsMayContradictEachOther) {
  SequenceRequest request = NewRequest(1, {1, 2}, 40);
  request.sampling.allowed_token_ids = {40};
  request.sampling.banned_sequences = {{40, 40, 40}};
  const Output output = RunAlone(request);
  EXPECT_THAT(output.token_ids, ElementsAre(40, 40));
  EXPECT_EQ(output.error.code(), absl::StatusCode::kInvalidArgument);
}

TEST(EngineConstraintTest, BadIdsAreRefusedByName) {
  Harness harness;
  const auto message = [&](std::function<void(SamplingParams*)> change) {
    SequenceRequest request = NewRequest(1, {1}, 5);
    change(&request.sampling);
    const absl::Status status = harness.engine->Submit(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](SamplingParams* p) { p->allowed_token_ids = {60}; }),
              HasSubstr("allowed_token_ids"));
  EXPECT_THAT(message([](SamplingParams* p) {
                p->banned_sequences = {{1}, {}};
              }),
              HasSubstr("banned_sequences[1] has no ids"));
  EXPECT_THAT(message([](SamplingParams* p) { p->banned_sequences = {{99}}; }),
              HasSubstr("banned_sequences[0]"));
  EXPECT_THAT(message([](SamplingParams* p) { p->banned_sequences.assign(2000, {1}); }),
              HasSubstr("2000"));
}

// A crowd among which sequences are preempted, chunked and pipelined gives each the tokens that it
// gets alone; several of them are constrained.
TEST(EngineConstraintTest, TokensDependOnTheRequestAlone) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  EngineOptions options = TestOptions();
  options.scheduler.num_blocks = 14;
  Harness harness(options);
  std::map<uint64_t, Output> alone;
  constexpr uint64_t kNumRequests = 30;
  for (uint64_t id = 1; id <= kNumRequests; ++id) {
    SequenceRequest request = RandomRequest(id, &random);
    if (id % 3 == 0) request.sampling.allowed_token_ids = {7, 20, 21, 22, 23, 24, 25, 26, 27};
    if (id % 4 == 0) request.sampling.banned_sequences = {{20}, {22, 23}, {30, 31, 32}};
    const auto with_matcher = [&] {
      SequenceRequest copy = request;
      if (id % 2 == 0) copy.matcher = std::make_shared<LadderMatcher>(30);
      return copy;
    };
    alone[id] = RunAlone(with_matcher());
    ASSERT_TRUE(harness.engine->Submit(with_matcher()).ok());
    if (random() % 2 == 0) {
      ASSERT_TRUE(harness.engine->RunStep().ok());
    }
  }
  harness.RunUntilIdle();
  EXPECT_GT(harness.engine->load().counters.num_preemptions, 0);
  for (const auto& [id, output] : alone) {
    const Output& crowded = harness.outputs[{1, id}];
    EXPECT_EQ(crowded.token_ids, output.token_ids) << id;
    EXPECT_EQ(crowded.finish_reason, output.finish_reason) << id;
    EXPECT_EQ(crowded.error, output.error) << id;
  }
}

TEST(EngineConstraintTest, AResumedOutputGoesOnWhereItWas) {
  SequenceRequest request = LadderRequest(1, 12);
  request.sampling.repetition_penalty = 1.2f;
  const std::vector<int32_t> whole = RunAlone(request).token_ids;
  SequenceRequest resumed = LadderRequest(1, 12);
  resumed.sampling.repetition_penalty = 1.2f;
  resumed.output_ids.assign(whole.begin(), whole.begin() + 5);
  for (const int32_t id : resumed.output_ids) ASSERT_TRUE(resumed.matcher->Accept(id).ok());
  const std::vector<int32_t> rest = RunAlone(resumed).token_ids;
  EXPECT_EQ(rest, std::vector<int32_t>(whole.begin() + 5, whole.end()));
}

TEST(HelperThreadsTest, EachPieceIsDoneOnce) {
  HelperThreads helpers(3);
  for (const size_t count : {0u, 1u, 7u, 8u, 500u}) {
    std::vector<std::atomic<int>> done(count);
    helpers.ForEach(count, [&](size_t i) { ++done[i]; });
    for (const auto& times : done) EXPECT_EQ(times, 1);
  }
}

}  // namespace
}  // namespace quartet::engine
