#include "cli/arrival_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace quartet::cli {
namespace {

TEST(PoissonArrivalsTest, GapsHaveTheExponentialsMeanAndSpread) {
  constexpr int kCount = 100'000;
  constexpr double kRate = 4;
  const auto arrivals = PoissonArrivals(kCount, kRate, 1);
  ASSERT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end()));
  double sum = 0, squares = 0, longer_than_mean = 0, previous = 0;
  for (double arrival : arrivals) {
    const double gap = arrival - previous;
    previous = arrival;
    sum += gap;
    squares += gap * gap;
    longer_than_mean += gap > 1 / kRate ? 1 : 0;
  }
  const double mean = sum / kCount;
  EXPECT_NEAR(mean, 1 / kRate, 0.01 / kRate);
  EXPECT_NEAR(std::sqrt(squares / kCount - mean * mean), 1 / kRate, 0.02 / kRate);
  EXPECT_NEAR(longer_than_mean / kCount, std::exp(-1.0), 0.005);
}

TEST(PoissonArrivalsTest, TheSeedDecides) {
  EXPECT_EQ(PoissonArrivals(10, 1, 7), PoissonArrivals(10, 1, 7));
  EXPECT_NE(PoissonArrivals(10, 1, 7), PoissonArrivals(10, 1, 8));
}

TEST(RandomPromptTest, StaysBelowTheLimitAndDiffers) {
  const auto ids = RandomPrompt(1000, 50, 3);
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_LT(*std::max_element(ids.begin(), ids.end()), 50u);
  EXPECT_NE(ids, RandomPrompt(1000, 50, 4));
}

}  // namespace
}  // namespace quartet::cli
