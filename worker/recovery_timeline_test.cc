#include "worker/recovery_timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::worker_service {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1000);

absl::Time At(int milliseconds) { return kStart + absl::Milliseconds(milliseconds); }

worker::v1::RankHello Fresh(uint32_t rank, uint64_t age_ms) {
  worker::v1::RankHello hello;
  hello.set_rank(rank);
  hello.set_process_age_ms(age_ms);
  return hello;
}

worker::v1::RankHello Survivor(uint32_t rank, uint64_t lost_for_ms, uint64_t noticed_after_ms) {
  worker::v1::RankHello hello;
  hello.set_rank(rank);
  hello.set_process_age_ms(1'000'000);
  hello.set_last_epoch(5);
  hello.set_lost_for_ms(lost_for_ms);
  hello.set_noticed_after_ms(noticed_after_ms);
  return hello;
}

TEST(RecoveryTimelineTest, TheFirstStartIsNoRecovery) {
  RecoveryTimeline timeline(absl::Seconds(3), At(0));
  timeline.OnJoined(Fresh(1, 4000), At(10));
  EXPECT_FALSE(timeline.OnServing(2, At(20)).has_value());
}

TEST(RecoveryTimelineTest, ALostFollowerIsTimedByPhase) {
  RecoveryTimeline timeline(absl::Seconds(3), At(0));
  timeline.OnServing(3, At(0));
  timeline.OnLost("rank 2 is gone", At(1000), At(1040));
  timeline.OnLost("and then rank 1 says so too", At(1000), At(1041));
  timeline.OnJoined(Survivor(1, 1, 40), At(1050));
  timeline.OnJoined(Fresh(2, 700), At(1800));  // started at 1100
  const auto report = timeline.OnServing(3, At(1860));
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->count(), 1u);
  EXPECT_EQ(report->reason(), "rank 2 is gone");
  EXPECT_EQ(report->noticed_ms(), 40);
  EXPECT_EQ(report->restarted_ms(), 60);
  EXPECT_EQ(report->loaded_ms(), 700);
  EXPECT_EQ(report->formed_ms(), 60);
  EXPECT_EQ(report->survivors(), 2u);
}

TEST(RecoveryTimelineTest, WhereNobodyWasRestartedTheFormingIsAll) {
  RecoveryTimeline timeline(absl::Seconds(3), At(0));
  timeline.OnServing(2, At(0));
  timeline.OnLost("rank 1 hangs", At(100), At(30'100));
  timeline.OnJoined(Survivor(1, 5, 29'000), At(30'150));
  const auto report = timeline.OnServing(2, At(30'200));
  EXPECT_EQ(report->noticed_ms(), 30'000);
  EXPECT_EQ(report->restarted_ms(), 0);
  EXPECT_EQ(report->loaded_ms(), 0);
  EXPECT_EQ(report->formed_ms(), 100);
  EXPECT_EQ(report->survivors(), 2u);
}

TEST(RecoveryTimelineTest, ANewLeaderLearnsOfTheLossFromSurvivors) {
  RecoveryTimeline timeline(absl::Milliseconds(800), At(1000));  // started at 200
  timeline.OnJoined(Survivor(1, 300, 25), At(450));              // lost at 150
  const auto report = timeline.OnServing(2, At(1030));
  ASSERT_TRUE(report.has_value());
  EXPECT_THAT(report->reason(), HasSubstr("leader is gone"));
  EXPECT_EQ(report->noticed_ms(), 25);
  EXPECT_EQ(report->restarted_ms(), 50);
  EXPECT_EQ(report->loaded_ms(), 800);
  EXPECT_EQ(report->formed_ms(), 30);
  EXPECT_EQ(report->survivors(), 1u);
}

TEST(RecoveryTimelineTest, ARankThatIsLostWhileTheGroupComesBackCountsOnce) {
  RecoveryTimeline timeline(absl::Seconds(3), At(0));
  timeline.OnServing(3, At(0));
  timeline.OnLost("rank 1", At(0), At(10));
  timeline.OnJoined(Fresh(1, 100), At(150));
  timeline.OnLost("rank 2", At(10), At(200));
  timeline.OnJoined(Survivor(1, 10, 0), At(220));
  timeline.OnJoined(Fresh(2, 100), At(330));
  const auto report = timeline.OnServing(3, At(340));
  EXPECT_EQ(report->count(), 1u);
  EXPECT_EQ(report->reason(), "rank 1");
  EXPECT_EQ(report->survivors(), 1u);
  EXPECT_EQ(report->restarted_ms(), 220);
  timeline.OnLost("rank 2 again", At(400), At(410));
  EXPECT_EQ(timeline.OnServing(3, At(420))->count(), 2u);
}

}  // namespace
}  // namespace quartet::worker_service
