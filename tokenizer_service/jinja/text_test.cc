#include "tokenizer_service/jinja/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::tokenizer::jinja {
namespace {

using ::testing::ElementsAre;

std::string Repr(absl::string_view text) {
  std::string out;
  AppendRepr(text, &out);
  return out;
}

TEST(TextTest, CaseFollowsTheFullMappings) {
  EXPECT_EQ(Upper("straße ﬁ ŉ"), "STRASSE FI ʼN");
  EXPECT_EQ(Lower("ΑΣ ΑΣΑ Σ İ"), "ας ασα σ i̇");
  EXPECT_EQ(Capitalize("éCOLE"), "École");
  EXPECT_EQ(Capitalize("ǆ"), "ǅ");
  EXPECT_EQ(TitleFilter("o'neill x-y (z)"), "O'neill X-Y (Z)");
  EXPECT_EQ(TitleMethod("o'neill x-y"), "O'Neill X-Y");
}

TEST(TextTest, WhiteSpaceIsUnicodes) {
  EXPECT_EQ(Strip("\u3000 a\u00a0b \x1c\u2028"), "a\u00a0b");
  EXPECT_THAT(SplitBySpace(" a \u3000b  c ", -1), ElementsAre("a", "b", "c"));
  EXPECT_THAT(SplitBySpace(" a b  c ", 1), ElementsAre("a", "b  c "));
  EXPECT_THAT(SplitLines("a\r\nb\x0b\n\u2029", false), ElementsAre("a", "b", "", ""));
}

TEST(TextTest, CutsFromBothSides) {
  EXPECT_THAT(Split("a,b,c", ",", 1), ElementsAre("a", "b,c"));
  EXPECT_THAT(SplitFromRight("a,b,c", ",", 1), ElementsAre("a,b", "c"));
  EXPECT_THAT(Split("", ",", -1), ElementsAre(""));
  EXPECT_EQ(Replace("aaa", "a", "bc", 2), "bcbca");
  EXPECT_EQ(Replace("éa", "", "-", -1), "-é-a-");
  EXPECT_EQ(CharacterOffset("éa", 1), 2u);
  EXPECT_EQ(NumCharacters("é😀a"), 3u);
}

TEST(TextTest, ReprChoosesQuotesAndEscapes) {
  EXPECT_EQ(Repr("it's"), "\"it's\"");
  EXPECT_EQ(Repr("it's \"x\"\n\x01\u00ad\u200b\U000e0001é"),
            "'it\\'s \"x\"\\n\\x01\\xad\\u200b\\U000e0001é'");
}

}  // namespace
}  // namespace quartet::tokenizer::jinja
