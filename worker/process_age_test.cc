#include "worker/process_age.h"

#include <gtest/gtest.h>

namespace quartet::worker_service {
namespace {

TEST(ProcessAgeTest, CountsFromTheStartThatTheKernelNames) {
  // The 22nd field is the start, in ticks after boot; the name has a blank and a bracket.
  const char* const stat =
      "12 (quartet) x) S 1 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 4 0 250 1000 10 1844";
  EXPECT_EQ(ProcessAgeFrom(stat, 100, absl::Seconds(10)), absl::Seconds(7.5));
}

TEST(ProcessAgeTest, TextThatIsNoStatGivesZero) {
  for (const char* stat : {"", "12 (x)", "12 (x) S 1", "no brackets"}) {
    EXPECT_EQ(ProcessAgeFrom(stat, 100, absl::Seconds(10)), absl::ZeroDuration());
  }
}

TEST(ProcessAgeTest, ThisProcessIsYoungerThanTheMachine) {
  EXPECT_GE(ProcessAge(), absl::ZeroDuration());
  EXPECT_LT(ProcessAge(), absl::Hours(1));
}

}  // namespace
}  // namespace quartet::worker_service
