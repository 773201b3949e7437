// The mirror: block tables follow the updates, the input matches the plan, and broken plans are
// refused by name.
#include "worker/engine/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kEpoch = 9;

StepLimits Limits() { return {100, 50, 4, 64}; }

// Slot 2 decodes its 18th token, slot 0 reads the first 3 tokens of its prompt.
StepPlan TwoSequences() {
  StepPlan plan;
  plan.step = 1;
  plan.epoch = kEpoch;
  plan.token_ids = {41, 5, 6, 7};
  plan.slots = {2, 0};
  plan.num_new_tokens = {1, 3};
  plan.num_cached_tokens = {17, 0};
  plan.num_logits = {1, 2};
  plan.block_updates = {{2, 0, {30, 10}}, {0, 0, {20}}};
  return plan;
}

TEST(StepMirrorTest, FillsTheModelsInput) {
  StepMirror mirror(Limits(), kEpoch);
  model::StepInput input;
  ASSERT_TRUE(mirror.Apply(TwoSequences(), &input).ok());
  EXPECT_THAT(input.token_ids, ElementsAre(41, 5, 6, 7));
  EXPECT_THAT(input.positions, ElementsAre(17, 0, 1, 2));
  EXPECT_THAT(input.slot_mapping, ElementsAre(10 * 16 + 1, 320, 321, 322));
  EXPECT_THAT(input.query_start, ElementsAre(0, 1, 4));
  EXPECT_THAT(input.kv_len, ElementsAre(18, 3));
  EXPECT_EQ(input.max_blocks, 2);
  EXPECT_THAT(input.block_tables, ElementsAre(30, 10, 20, 0));
  EXPECT_THAT(input.logits_rows, ElementsAre(0, 2, 3));
}

TEST(StepMirrorTest, UpdatesAppendAndReplace) {
  StepMirror mirror(Limits(), kEpoch);
  model::StepInput input;
  ASSERT_TRUE(mirror.Apply(TwoSequences(), &input).ok());
  StepPlan plan;
  plan.step = 2;
  plan.epoch = kEpoch;
  plan.token_ids = {1, 2};
  plan.slots = {2, 0};
  plan.num_new_tokens = {1, 1};
  plan.num_cached_tokens = {32, 0};
  plan.num_logits = {1, 0};
  plan.block_updates = {{2, 2, {44}}, {0, 0, {45}}};  // one grows, one is a new sequence
  ASSERT_TRUE(mirror.Apply(plan, &input).ok());
  EXPECT_THAT(input.block_tables, ElementsAre(30, 10, 44, 45, 0, 0));
  EXPECT_THAT(input.slot_mapping, ElementsAre(44 * 16, 45 * 16));
  EXPECT_THAT(input.logits_rows, ElementsAre(0));
}

TEST(StepMirrorTest, TokensThatAreNotKnownYetAreFilledInLater) {
  StepMirror mirror(Limits(), kEpoch);
  StepPlan plan = TwoSequences();
  plan.token_ids[0] = kSampledToken;
  model::StepInput input;
  ASSERT_TRUE(mirror.Apply(plan, &input).ok());
  EXPECT_EQ(CountSampledTokens(input), 1);
  model::StepInput filled = input;
  ASSERT_TRUE(FillSampledTokens({77}, 100, &filled).ok());
  EXPECT_THAT(filled.token_ids, ElementsAre(77, 5, 6, 7));
  for (const std::vector<int32_t>& ids :
       {std::vector<int32_t>{}, std::vector<int32_t>{1, 2}, std::vector<int32_t>{100},
        std::vector<int32_t>{kSampledToken}}) {
    filled = input;
    EXPECT_FALSE(FillSampledTokens(ids, 100, &filled).ok()) << ids.size();
  }
}

TEST(StepMirrorTest, APlanWithoutSequencesIsAnEmptyStep) {
  StepMirror mirror(Limits(), kEpoch);
  model::StepInput input;
  StepPlan plan;
  plan.step = 1;
  plan.epoch = kEpoch;
  ASSERT_TRUE(mirror.Apply(plan, &input).ok());
  EXPECT_EQ(input.num_tokens(), 0);
  EXPECT_EQ(input.num_sequences(), 0);
}

TEST(StepMirrorTest, RefusesPlansThatBreakTheLimits) {
  struct Case {
    std::function<void(StepPlan&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](StepPlan& p) { p.epoch = 8; }, "epoch 8"},
      {[](StepPlan& p) { p.step = 3; }, "the last step was 0"},
      {[](StepPlan& p) { p.slots.push_back(1); }, "differ in length"},
      {[](StepPlan& p) { p.slots[0] = 4; }, "slot 4"},
      {[](StepPlan& p) { p.slots[0] = 3; }, "slot 3 has 0 blocks for 18 tokens"},
      {[](StepPlan& p) { p.token_ids[1] = 100; }, "token id 100"},
      {[](StepPlan& p) { p.token_ids[1] = kSampledToken; }, "token id -1"},
      {[](StepPlan& p) { p.token_ids.push_back(1); }, "5 token ids for 4 new tokens"},
      {[](StepPlan& p) { p.token_ids.resize(65); }, "65 tokens"},
      {[](StepPlan& p) { p.num_logits[1] = 4; }, "wants 4 rows"},
      {[](StepPlan& p) { p.num_new_tokens[0] = 0; }, "0 new tokens"},
      {[](StepPlan& p) { p.num_cached_tokens[0] = -1; }, "-1 cached"},
      {[](StepPlan& p) { p.num_cached_tokens[0] = 32; }, "2 blocks for 33 tokens"},
      {[](StepPlan& p) { p.block_updates[0].blocks[1] = 50; }, "block 50"},
      {[](StepPlan& p) { p.block_updates[0].first = 1; }, "begins at 1"},
      {[](StepPlan& p) { p.block_updates[0].slot = -1; }, "slot -1"},
  };
  for (const Case& c : cases) {
    StepMirror mirror(Limits(), kEpoch);
    StepPlan plan = TwoSequences();
    c.spoil(plan);
    model::StepInput input;
    const absl::Status status = mirror.Apply(plan, &input);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace quartet::engine
