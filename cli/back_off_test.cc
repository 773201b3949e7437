#include "cli/back_off.h"

#include <gtest/gtest.h>

namespace quartet::cli {
namespace {

using std::chrono::milliseconds;

TEST(BackOffTest, DoublesUpToTheMaximum) {
  BackOff back_off(BackOff::Options{});
  for (int expected : {200, 400, 800, 1600, 3200, 6400, 10'000, 10'000}) {
    EXPECT_EQ(back_off.Next(milliseconds(5)), milliseconds(expected));
  }
}

TEST(BackOffTest, StartsAfreshAfterAHealthyLife) {
  BackOff back_off(BackOff::Options{});
  back_off.Next(milliseconds(0));
  back_off.Next(milliseconds(0));
  EXPECT_EQ(back_off.Next(milliseconds(59'999)), milliseconds(800));
  EXPECT_EQ(back_off.Next(milliseconds(60'000)), milliseconds(200));
  EXPECT_EQ(back_off.Next(milliseconds(0)), milliseconds(400));
}

}  // namespace
}  // namespace quartet::cli
