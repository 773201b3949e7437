#include "cli/eval/haystack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace quartet::cli::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(PlainSentencesTest, TheSeedDecidesAndSentencesDiffer) {
  const auto sentences = PlainSentences(200, 7);
  EXPECT_EQ(sentences, PlainSentences(200, 7));
  EXPECT_NE(sentences, PlainSentences(200, 8));
  EXPECT_GT(std::set<std::string>(sentences.begin(), sentences.end()).size(), 195u);
  // The first sentences of a longer text are those of a shorter one.
  EXPECT_TRUE(std::equal(sentences.begin(), sentences.end(), PlainSentences(300, 7).begin()));
}

TEST(PlainSentencesTest, NoDigitCanBeMistakenForAnAnswer) {
  for (const std::string& sentence : PlainSentences(500, 1)) {
    EXPECT_TRUE(std::none_of(sentence.begin(), sentence.end(), absl::ascii_isdigit)) << sentence;
    EXPECT_FALSE(absl::StrContains(sentence, "secret number"));
  }
}

TEST(SplitSentencesTest, EndsAtMarksBeforeSpaceAtCjkMarksAndAtEmptyLines) {
  EXPECT_THAT(SplitSentences("One is 1.5. Two!  Three?\nfour"),
              ElementsAre("One is 1.5.", "Two!", "Three?", "four"));
  EXPECT_THAT(SplitSentences("第一句。第二句！第三句"),
              ElementsAre("第一句。", "第二句！", "第三句"));
  EXPECT_THAT(SplitSentences("A title\n\nand a text\n\n"), ElementsAre("A title", "and a text"));
  EXPECT_THAT(SplitSentences(" \n\n "), IsEmpty());
}

TEST(NeedleTest, SaysItsAnswerOnce) {
  const Needle needle = MakeNeedle(3);
  EXPECT_EQ(needle.answer.size(), 7u);
  EXPECT_THAT(needle.sentence, HasSubstr(needle.answer));
  EXPECT_FALSE(absl::StrContains(needle.question, needle.answer));
  EXPECT_TRUE(absl::StartsWith(needle.sentence, needle.answer_start));
  EXPECT_EQ(MakeNeedle(3).sentence, needle.sentence);
  EXPECT_NE(MakeNeedle(4).answer, needle.answer);
}

TEST(BuildHaystackTest, PutsTheNeedleAtItsDepth) {
  const Needle needle{"N.", "", "", ""};
  EXPECT_EQ(BuildHaystack({"a.", "b."}, 4, 0, needle), "N. a. b. a. b.");
  EXPECT_EQ(BuildHaystack({"a.", "b."}, 4, 0.5, needle), "a. b. N. a. b.");
  EXPECT_EQ(BuildHaystack({"a.", "b."}, 4, 1, needle), "a. b. a. b. N.");
  EXPECT_EQ(BuildHaystack({"a.", "b."}, 3, 0.25, needle), "a. N. b. a.");
  EXPECT_EQ(BuildHaystack({"a."}, 0, 0.5, needle), "N.");
}

}  // namespace
}  // namespace quartet::cli::eval
