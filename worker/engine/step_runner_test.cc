// Steps run in order, beside the engine, and know what the step before them sampled.
#include "worker/engine/step_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "worker/engine/testing/fake_model.h"

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 20;

// One sequence with one new token.
std::unique_ptr<StepWork> Work(uint64_t step, int32_t token,
                               std::vector<int32_t> sampled_rows = {}) {
  auto work = std::make_unique<StepWork>();
  work->step = step;
  work->input.token_ids = {token};
  work->input.positions = {static_cast<int32_t>(step)};
  work->input.slot_mapping = {static_cast<int32_t>(step)};
  work->input.query_start = {0, 1};
  work->input.kv_len = {static_cast<int32_t>(step) + 1};
  work->input.block_tables = {0};
  work->input.max_blocks = 1;
  work->input.logits_rows = {0};
  work->sampled_rows = std::move(sampled_rows);
  return work;
}

kernels::SampleRow Forced(int32_t token) {
  kernels::SampleRow row;
  row.forced_token_id = token;
  return row;
}

class StepRunnerTest : public testing::TestWithParam<StepRunner::Mode> {
 protected:
  StepRunnerTest() { runner_.SetMode(GetParam()); }
  FakeModel model_{kVocabulary};
  StepRunner runner_{kVocabulary, &model_, nullptr};
};

TEST_P(StepRunnerTest, AStepReadsWhatTheStepBeforeSampled) {
  runner_.Submit(Work(1, 4));
  runner_.SetRows({Forced(9)});
  runner_.Submit(Work(2, kSampledToken, {0}));
  EXPECT_EQ(runner_.num_outstanding(), 2);
  EXPECT_EQ(runner_.Wait()->tokens[0].token_id, 9);
  runner_.SetRows({Forced(3)});
  EXPECT_EQ(runner_.Wait()->tokens[0].token_id, 3);
  ASSERT_EQ(model_.inputs.size(), 2u);
  EXPECT_THAT(model_.inputs[1].token_ids, ElementsAre(9));
  EXPECT_THAT(model_.shared, ElementsAre(ElementsAre(9))) << "all ranks must learn it";
}

TEST_P(StepRunnerTest, AfterAnErrorNothingRuns) {
  model_.on_forward = [](const model::StepInput&) { return absl::UnavailableError("rank 2"); };
  runner_.Submit(Work(1, 4));
  runner_.SetRows({Forced(9)});
  EXPECT_THAT(std::string(runner_.Wait().status().message()), HasSubstr("rank 2"));
  EXPECT_EQ(model_.inputs.size(), 1u);
}

TEST_P(StepRunnerTest, StopEndsAStepThatWaitsForItsRows) {
  runner_.Submit(Work(1, 4));
  runner_.Stop();
  runner_.Stop();
}

INSTANTIATE_TEST_SUITE_P(Modes, StepRunnerTest,
                         testing::Values(StepRunner::Mode::kThread, StepRunner::Mode::kInline));

TEST(StepRunnerThreadTest, TheForwardPassDoesNotWaitForTheRows) {
  FakeModel model(kVocabulary);
  std::promise<void> forward;
  model.on_forward = [&](const model::StepInput&) {
    forward.set_value();
    return absl::OkStatus();
  };
  StepRunner runner(kVocabulary, &model, nullptr);
  runner.SetMode(StepRunner::Mode::kThread);
  runner.Submit(Work(1, 4));
  forward.get_future().wait();
  EXPECT_FALSE(runner.WaitUntil(SteadyNow())) << "it can't have been sampled";
  runner.SetRows({Forced(2)});
  const absl::StatusOr<StepResult> result = runner.Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_LE(result->started, result->ended);
}

}  // namespace
}  // namespace quartet::engine
