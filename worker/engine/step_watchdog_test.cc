#include "worker/engine/step_watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::engine {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

StepWatchdog::Options TestOptions() { return {absl::Seconds(30), 4, 0.1}; }

TEST(StepWatchdogTest, IsContentWhenNothingRuns) {
  StepWatchdog watchdog(TestOptions());
  EXPECT_TRUE(watchdog.Check(kStart).ok());
  watchdog.StepStarted(1, 10, kStart);
  watchdog.StepEnded(kStart + absl::Seconds(1));
  EXPECT_TRUE(watchdog.Check(kStart + absl::Hours(5)).ok());
}

TEST(StepWatchdogTest, AllowsTheFloorPlusAMultipleOfThePrediction) {
  StepWatchdog watchdog(TestOptions());
  watchdog.StepStarted(7, 100, kStart);  // 30 s + 4 * 10 s
  EXPECT_TRUE(watchdog.Check(kStart + absl::Seconds(69)).ok());
  const absl::Status status = watchdog.Check(kStart + absl::Seconds(71));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("step 7 of 100 tokens"));
}

TEST(StepWatchdogTest, KnowsTheLastSignOfLifeAndLearnsNothingFromProbes) {
  StepWatchdog watchdog(TestOptions());
  EXPECT_EQ(watchdog.LastSign(), absl::InfinitePast());
  watchdog.StepStarted(1, 0, kStart);
  EXPECT_EQ(watchdog.LastSign(), kStart);
  watchdog.StepEnded(kStart + absl::Seconds(20));
  EXPECT_EQ(watchdog.LastSign(), kStart + absl::Seconds(20));
  EXPECT_EQ(watchdog.Limit(10), absl::Seconds(34));
}

TEST(StepWatchdogTest, LearnsFromSlowStepsAtOnceAndFromFastOnesSlowly) {
  StepWatchdog watchdog(TestOptions());
  watchdog.StepStarted(1, 10, kStart);
  watchdog.StepEnded(kStart + absl::Seconds(20));  // 2 s a token
  watchdog.StepStarted(2, 10, kStart);
  EXPECT_TRUE(watchdog.Check(kStart + absl::Seconds(109)).ok());
  EXPECT_FALSE(watchdog.Check(kStart + absl::Seconds(111)).ok());
  for (int i = 0; i < 200; ++i) {
    watchdog.StepStarted(3 + i, 10, kStart);
    watchdog.StepEnded(kStart + absl::Milliseconds(10));
  }
  watchdog.StepStarted(300, 10, kStart);
  EXPECT_FALSE(watchdog.Check(kStart + absl::Seconds(31)).ok());
}

}  // namespace
}  // namespace quartet::engine
