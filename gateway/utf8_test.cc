#include "gateway/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace quartet::gateway {
namespace {

TEST(Utf8Test, TakesWellFormedText) {
  for (const std::string text : {"", "ascii only, longer than a word", "äöü", "牛顿第一定律", "🚀🚀",
                                 "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(FirstInvalidUtf8(text), text.size()) << text;
  }
}

TEST(Utf8Test, FindsTheFirstBadByte) {
  const struct {
    std::string text;
    size_t offset;
  } cases[] = {
      {"\xFF", 0},
      {"ab\x80", 2},
      {"\xC0\xAF", 0},
      {"a\xE0\x80\x80", 1},
      {"\xED\xA0\x80", 0},
      {"\xF4\x90\x80\x80", 0},
      {"\xF5\x80\x80\x80", 0},
      {"12345678\xE7\x89", 8},
      {"\xE7\x89x", 0},
  };
  for (const auto& c : cases) EXPECT_EQ(FirstInvalidUtf8(c.text), c.offset) << c.text;
}

TEST(Utf8Test, CountsCharacters) {
  EXPECT_EQ(CountCharacters("a牛🚀"), 3u);
  EXPECT_EQ(CountCharacters(""), 0u);
}

}  // namespace
}  // namespace quartet::gateway
