#include "cli/eval/perplexity_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

namespace quartet::cli::eval {

void PrintTo(const Window& w, std::ostream* out) {
  *out << "{" << w.begin << ", " << w.end << ", " << w.first_scored << "}";
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(MakeWindowsTest, StridesOverTheText) {
  EXPECT_THAT(MakeWindows(10, 4, 2),
              ElementsAre(Window{0, 4, 1}, Window{2, 6, 4}, Window{4, 8, 6}, Window{6, 10, 8}));
  EXPECT_THAT(MakeWindows(9, 4, 3), ElementsAre(Window{0, 4, 1}, Window{3, 7, 4}, Window{6, 9, 7}));
  EXPECT_THAT(MakeWindows(4, 4, 2), ElementsAre(Window{0, 4, 1}));
  EXPECT_THAT(MakeWindows(2, 100, 50), ElementsAre(Window{0, 2, 1}));
  EXPECT_THAT(MakeWindows(1, 4, 2), IsEmpty());
}

TEST(MakeWindowsTest, ScoresEveryTokenButTheFirstOnceWithEnoughBeforeIt) {
  for (size_t num_tokens = 2; num_tokens < 40; ++num_tokens) {
    for (size_t context = 2; context < 12; ++context) {
      for (size_t stride = 1; stride < context; ++stride) {
        size_t next = 1;
        for (const Window& window : MakeWindows(num_tokens, context, stride)) {
          ASSERT_EQ(window.first_scored, next);
          ASSERT_LT(window.first_scored, window.end);
          ASSERT_LE(window.end - window.begin, context);
          // The server tells nothing of a window's first token.
          ASSERT_GT(window.first_scored, window.begin);
          if (window.begin > 0) {
            ASSERT_GE(window.first_scored - window.begin, context - stride);
          }
          next = window.end;
        }
        ASSERT_EQ(next, num_tokens);
      }
    }
  }
}

TEST(PerplexityTest, Arithmetic) {
  // Two tokens of probabilities 1/2 and 1/8 that stand for 4 bytes: 4 bits.
  const Perplexity perplexity{2, 4, std::log(2.0) + std::log(8.0)};
  EXPECT_DOUBLE_EQ(perplexity.NatsPerToken(), std::log(4.0));
  EXPECT_DOUBLE_EQ(perplexity.PerToken(), 4.0);
  EXPECT_DOUBLE_EQ(perplexity.BitsPerByte(), 1.0);
}

}  // namespace
}  // namespace quartet::cli::eval
