#include "worker/engine/idle_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::engine {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

class IdleProbeTest : public ::testing::Test {
 protected:
  absl::Status Tick(absl::Time last_sign, int second) {
    return probe_.Tick(last_sign, kStart + absl::Seconds(second), [this] { ++num_probes_; });
  }
  IdleProbe probe_{absl::Seconds(5), absl::Seconds(30), kStart};
  int num_probes_ = 0;
};

TEST_F(IdleProbeTest, AsksOnceAfterTheIntervalWithoutASign) {
  EXPECT_TRUE(Tick(absl::InfinitePast(), 4).ok());
  EXPECT_EQ(num_probes_, 0);
  for (int second : {5, 6, 20}) EXPECT_TRUE(Tick(absl::InfinitePast(), second).ok());
  EXPECT_EQ(num_probes_, 1);
}

TEST_F(IdleProbeTest, AsksNothingWhileStepsGoOn) {
  for (int second = 0; second < 100; ++second) {
    EXPECT_TRUE(Tick(kStart + absl::Seconds(second - 1), second).ok());
  }
  EXPECT_EQ(num_probes_, 0);
}

TEST_F(IdleProbeTest, AsksAgainAnIntervalAfterTheAnswer) {
  EXPECT_TRUE(Tick(absl::InfinitePast(), 5).ok());
  const absl::Time answer = kStart + absl::Seconds(5);
  EXPECT_TRUE(Tick(answer, 9).ok());
  EXPECT_EQ(num_probes_, 1);
  EXPECT_TRUE(Tick(answer, 10).ok());
  EXPECT_EQ(num_probes_, 2);
}

TEST_F(IdleProbeTest, AnEngineThatDoesNotBeginTheProbeIsNoticed) {
  EXPECT_TRUE(Tick(kStart, 5).ok());
  EXPECT_TRUE(Tick(kStart, 35).ok());
  const absl::Status status = Tick(kStart, 36);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("no step for 31s"));
}

}  // namespace
}  // namespace quartet::engine
