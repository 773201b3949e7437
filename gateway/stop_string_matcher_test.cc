#include "gateway/stop_string_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace quartet::gateway {
namespace {

// The definition: the match that ends first, then the one that begins first.
std::optional<StopMatch> NaiveFind(const std::string& text, const std::vector<std::string>& stops) {
  std::optional<StopMatch> best;
  for (size_t i = 0; i < stops.size(); ++i) {
    const size_t begin = text.find(stops[i]);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stops[i].size();
    if (!best || end < best->end || (end == best->end && begin < best->begin)) {
      best = StopMatch{i, begin, end};
    }
  }
  return best;
}

std::string RandomText(std::mt19937& random, size_t length) {
  std::string text;
  for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 3);
  return text;
}

TEST(StopStringMatcherTest, EqualsNaiveSearchHoweverTheTextIsCut) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(RandomText(random, 1 + random() % 6));
    const std::string text = RandomText(random, random() % 40);
    StopStringMatcher matcher(stops);
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t piece = std::min<size_t>(1 + random() % 5, text.size() - at);
      shown += matcher.Push(text.substr(at, piece));
      at += piece;
      EXPECT_EQ(matcher.released_bytes(), shown.size());
    }
    shown += matcher.Flush();
    const std::optional<StopMatch> expected = NaiveFind(text, stops);
    ASSERT_EQ(matcher.match().has_value(), expected.has_value()) << text;
    if (expected) {
      ASSERT_EQ(matcher.match()->begin, expected->begin) << text;
      ASSERT_EQ(matcher.match()->end, expected->end) << text;
      ASSERT_EQ(stops[matcher.match()->stop_index], stops[expected->stop_index]) << text;
    }
    ASSERT_EQ(shown, text.substr(0, expected ? expected->begin : text.size()));
  }
}

TEST(StopStringMatcherTest, HoldsBackNoMoreThanABeginningOfAStop) {
  StopStringMatcher matcher({"</answer>"});
  EXPECT_EQ(matcher.Push("text <"), "text ");
  EXPECT_EQ(matcher.Push("/ans"), "");
  EXPECT_EQ(matcher.Push("x"), "</ansx");
  EXPECT_EQ(matcher.Push("<b>"), "<b>");
}

TEST(StopStringMatcherTest, FlushGivesBackWhatTurnedOutHarmless) {
  StopStringMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.Push("a ST"), "a ");
  EXPECT_EQ(matcher.Flush(), "ST");
}

TEST(StopStringMatcherTest, CutsOnlyBetweenCharacters) {
  StopStringMatcher matcher({"律。"});
  EXPECT_EQ(matcher.Push("定律"), "定");
  EXPECT_EQ(matcher.Push("，"), "律，");
  EXPECT_EQ(matcher.Push("律。更"), "");
  ASSERT_TRUE(matcher.match().has_value());
  EXPECT_EQ(matcher.match()->begin, std::string("定律，").size());
  EXPECT_EQ(matcher.Push("多"), "");
}

}  // namespace
}  // namespace quartet::gateway
