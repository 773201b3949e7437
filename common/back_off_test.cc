#include "common/back_off.h"

#include <gtest/gtest.h>

namespace quartet::common {
namespace {

using std::chrono::milliseconds;

TEST(BackOffTest, BeginsAtOnceThenDoublesUpToTheMaximum) {
  BackOff back_off(BackOff::Options{});
  for (int expected : {0, 200, 400, 800, 1600, 3200, 6400, 10'000, 10'000}) {
    EXPECT_EQ(back_off.Next(milliseconds(5)), milliseconds(expected));
  }
}

TEST(BackOffTest, StartsAfreshAfterAHealthyLife) {
  BackOff back_off(BackOff::Options{});
  back_off.Next(milliseconds(0));
  back_off.Next(milliseconds(0));
  EXPECT_EQ(back_off.Next(milliseconds(4'999)), milliseconds(400));
  EXPECT_EQ(back_off.Next(milliseconds(5'000)), milliseconds(0));
  EXPECT_EQ(back_off.Next(milliseconds(0)), milliseconds(200));
}

}  // namespace
}  // namespace quartet::common
