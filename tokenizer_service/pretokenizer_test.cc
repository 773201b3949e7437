#include "tokenizer_service/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(absl::string_view text, SplitPattern pattern, bool digits = false) {
  WordScanner scanner(text, pattern, digits);
  std::vector<std::string> words;
  absl::string_view word;
  while (scanner.Next(&word)) words.emplace_back(word);
  return words;
}

std::vector<std::string> Qwen2(absl::string_view text) { return Split(text, SplitPattern::kQwen2); }
std::vector<std::string> Gpt2(absl::string_view text) { return Split(text, SplitPattern::kGpt2); }

TEST(Qwen2PatternTest, WordsTakeOneCharacterBefore) {
  EXPECT_THAT(Qwen2("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(Qwen2("(a\tb"), ElementsAre("(a", "\tb"));
  EXPECT_THAT(Qwen2("\nab"), ElementsAre("\n", "ab"));
}

TEST(Qwen2PatternTest, NumbersStandAlone) {
  EXPECT_THAT(Qwen2("a12 3"), ElementsAre("a", "1", "2", " ", "3"));
}

TEST(Qwen2PatternTest, ContractionsIgnoreCase) {
  EXPECT_THAT(Qwen2("I'll WE'RE"), ElementsAre("I", "'ll", " WE", "'RE"));
  EXPECT_THAT(Qwen2("x'\xC5\xBF"), ElementsAre("x", "'\xC5\xBF"));  // U+017F folds to s
  EXPECT_THAT(Qwen2("'x"), ElementsAre("'x"));
}

TEST(Qwen2PatternTest, PunctuationTakesLineEnds) {
  EXPECT_THAT(Qwen2("a !?\n\nb"), ElementsAre("a", " !?\n\n", "b"));
}

TEST(Qwen2PatternTest, SpacesLeaveTheLastToTheWord) {
  EXPECT_THAT(Qwen2("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Qwen2("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(Qwen2("a   1"), ElementsAre("a", "  ", " ", "1"));
}

TEST(Qwen2PatternTest, SpacesEndAtTheLastLineEnd) {
  EXPECT_THAT(Qwen2("a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
}

TEST(Gpt2PatternTest, WordsTakeOnlyASpace) {
  EXPECT_THAT(Gpt2("Hello world(a"), ElementsAre("Hello", " world", "(", "a"));
  EXPECT_THAT(Gpt2("a\tb 12x"), ElementsAre("a", "\t", "b", " 12", "x"));
}

TEST(Gpt2PatternTest, ContractionsMindCase) {
  EXPECT_THAT(Gpt2("I'll WE'RE"), ElementsAre("I", "'ll", " WE", "'", "RE"));
}

TEST(Gpt2PatternTest, SpacesLeaveTheLastToTheWord) {
  EXPECT_THAT(Gpt2("a \n\n b"), ElementsAre("a", " \n\n", " b"));
  EXPECT_THAT(Gpt2("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
}

TEST(IndividualDigitsTest, DigitsAreCutOutFirst) {
  // The spaces before the digit are at the end of their own text, so they stay together.
  EXPECT_THAT(Split("a   12", SplitPattern::kGpt2, true), ElementsAre("a", "   ", "1", "2"));
  EXPECT_THAT(Split("\xC2\xBD\xE2\x85\xA7x", SplitPattern::kGpt2, true),
              ElementsAre("\xC2\xBD", "\xE2\x85\xA7", "x"));
}

TEST(WordScannerTest, WordsTogetherAreTheText) {
  constexpr uint32_t kSeed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (int n = static_cast<int>(random() % 30); n > 0; --n) {
      const uint32_t c = random() % 3 == 0 ? random() % 0x3100 : random() % 0x80;
      AppendCodePoint(c, &text);
    }
    for (const SplitPattern pattern : {SplitPattern::kGpt2, SplitPattern::kQwen2}) {
      for (const bool digits : {false, true}) {
        std::string joined;
        for (const std::string& word : Split(text, pattern, digits)) {
          EXPECT_FALSE(word.empty());
          joined += word;
        }
        ASSERT_EQ(joined, text);
      }
    }
  }
}

TEST(WordScannerTest, AnEmptyTextHasNoWords) { EXPECT_THAT(Qwen2(""), ElementsAre()); }

}  // namespace
}  // namespace quartet::tokenizer
