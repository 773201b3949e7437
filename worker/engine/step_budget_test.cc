// How the prompts' part of a step adapts, on machines that the test makes up.
#include "worker/engine/step_budget.h"

#include <gtest/gtest.h>

namespace quartet::engine {
namespace {

StepBudget::Options Target(absl::Duration target) {
  StepBudget::Options options;
  options.target = target;
  return options;
}

TEST(StepBudgetTest, WithoutATargetPromptsTakeWhatTheyCan) {
  StepBudget budget{StepBudget::Options()};
  budget.Observe(8, 100, absl::Seconds(9));
  EXPECT_EQ(budget.PromptTokens(8, 500), 500);
}

TEST(StepBudgetTest, StepsComeUnderTheTarget) {
  StepBudget budget(Target(absl::Milliseconds(100)));
  for (int i = 0; i < 20; ++i) budget.Observe(16, 0, absl::Milliseconds(20));
  int64_t tokens = budget.PromptTokens(16, 2048);
  EXPECT_EQ(tokens, 64) << "nothing is known of prompts yet";
  // A prompt token takes 0.5 ms, so 140 of them fill what decodes leave of 90 ms.
  for (int i = 0; i < 20; ++i) {
    budget.Observe(16, tokens, absl::Milliseconds(20) + tokens * absl::Microseconds(500));
    tokens = budget.PromptTokens(16, 2048);
  }
  EXPECT_NEAR(static_cast<double>(tokens), 140, 4);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(budget.Predict(16, tokens)), 90, 3);
}

TEST(StepBudgetTest, APromptThatBecomesDearerGetsShorterChunks) {
  StepBudget budget(Target(absl::Milliseconds(100)));
  for (int i = 0; i < 20; ++i) budget.Observe(16, 0, absl::Milliseconds(10));
  absl::Duration longest = absl::ZeroDuration();
  for (int64_t context = 0; context < 30'000;) {
    const int64_t tokens = budget.PromptTokens(16, 2048);
    const absl::Duration one = absl::Microseconds(100) + context * absl::Nanoseconds(20);
    const absl::Duration step = absl::Milliseconds(10) + tokens * one;
    if (context > 1000) longest = std::max(longest, step);
    budget.Observe(16, tokens, step);
    context += tokens;
  }
  EXPECT_LT(longest, absl::Milliseconds(112));
}

TEST(StepBudgetTest, ChunksGrowStepByStep) {
  // Short prompts were cheap, which says little about a long one.
  StepBudget budget(Target(absl::Milliseconds(100)));
  for (int i = 0; i < 20; ++i) budget.Observe(16, 0, absl::Milliseconds(10));
  budget.Observe(16, 20, absl::Milliseconds(11));
  EXPECT_EQ(budget.PromptTokens(16, 2048), 64);
  budget.Observe(16, 64, absl::Milliseconds(13));
  EXPECT_EQ(budget.PromptTokens(16, 2048), 128);
  budget.Observe(16, 128, absl::Milliseconds(138));
  EXPECT_LT(budget.PromptTokens(16, 2048), 110) << "it has turned out to be dear";
}

TEST(StepBudgetTest, OnASlowMachinePromptsGetAsMuchTimeAsDecodes) {
  StepBudget budget(Target(absl::Milliseconds(100)));
  for (int i = 0; i < 50; ++i) budget.Observe(1, 0, absl::Milliseconds(400));
  for (int i = 0; i < 50; ++i) budget.Observe(1, 100, absl::Milliseconds(1400));
  EXPECT_NEAR(static_cast<double>(budget.PromptTokens(1, 2048)), 40, 2);
}

TEST(StepBudgetTest, PromptsAlwaysGoOn) {
  StepBudget budget(Target(absl::Milliseconds(1)));
  budget.Observe(1, 0, absl::Microseconds(100));
  budget.Observe(1, 64, absl::Seconds(10));
  EXPECT_EQ(budget.PromptTokens(1, 2048), 16);
  EXPECT_EQ(budget.PromptTokens(1, 5), 5) << "what the step's own budget leaves";
  EXPECT_EQ(budget.PromptTokens(1, 0), 0);
}

TEST(StepBudgetTest, WithoutDecodesNobodyWaits) {
  StepBudget budget(Target(absl::Milliseconds(1)));
  budget.Observe(0, 512, absl::Seconds(1));
  EXPECT_EQ(budget.PromptTokens(0, 512), 512);
}

}  // namespace
}  // namespace quartet::engine
