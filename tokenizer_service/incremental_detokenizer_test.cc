#include "tokenizer_service/incremental_detokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tokenizer_service/testing/small_vocabulary.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<uint32_t> BytesOf(absl::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST(DecodeNextTest, HoldsBackHalfACharacter) {
  const Vocabulary vocabulary = SmallVocabulary();
  const auto first = DecodeNext(vocabulary, "", BytesOf("a\xF0\x9F\x98"), {});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->text, "a");
  EXPECT_EQ(first->pending, "\xF0\x9F\x98");
  EXPECT_THAT(first->text_end, ElementsAre(1, 1, 1, 1));
  const auto second = DecodeNext(vocabulary, first->pending, BytesOf("\x80!"), {});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->text, "\xF0\x9F\x98\x80!");
  EXPECT_EQ(second->pending, "");
  EXPECT_THAT(second->text_end, ElementsAre(4, 5));
}

TEST(DecodeNextTest, FinishFlushesAndCountsForTheLastId) {
  const auto piece = DecodeNext(SmallVocabulary(), "", BytesOf("a\xE4\xBD"), {false, true});
  ASSERT_TRUE(piece.ok());
  EXPECT_EQ(piece->text, "a\xEF\xBF\xBD");
  EXPECT_EQ(piece->pending, "");
  EXPECT_THAT(piece->text_end, ElementsAre(1, 1, 4));
}

TEST(DecodeNextTest, SkippedTokensLeaveNoText) {
  const auto piece = DecodeNext(SmallVocabulary(), "\xC3",
                                std::vector<uint32_t>{kImEnd, 0xA9, kToolCall}, {true, false});
  ASSERT_TRUE(piece.ok());
  EXPECT_EQ(piece->text, "\xC3\xA9<tool_call>");
}

TEST(DecodeNextTest, RefusesUnknownIdsAndLongPending) {
  const Vocabulary vocabulary = SmallVocabulary();
  const auto unknown = DecodeNext(vocabulary, "", std::vector<uint32_t>{70000}, {});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.status().message(), HasSubstr("70000"));
  const auto pending = DecodeNext(vocabulary, "abcd", {}, {});
  EXPECT_THAT(pending.status().message(), HasSubstr("4 bytes"));
}

TEST(DecodeAllTest, ReplacesEachMaximalPart) {
  const Vocabulary vocabulary = SmallVocabulary();
  const std::string r(kReplacementCharacter);
  const std::pair<std::string, std::string> cases[] = {
      {"\xE4\xBD"
       "a",
       r + "a"},                    // cut off: one
      {"\xE4\xBD\xE4\xBD", r + r},  // two cut off
      {"\xF0\x80\x80", r + r + r},  // overlong: each byte
      {"\xED\xA0\x80", r + r + r},  // a surrogate: each byte
      {"\xF4\x90", r + r},          // past U+10FFFF
      {"\xC0\xAF", r + r},          // never starts a character
      {"\xF0\x9F\x98", r},          // end of text
      {"\x80\x80z", r + r + "z"},   // lone continuations
  };
  for (const auto& [bytes, text] : cases) {
    const auto decoded = DecodeAll(vocabulary, BytesOf(bytes), false);
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, text);
  }
}

TEST(DecodeNextTest, AnyCutOfAStreamGivesTheSameText) {
  constexpr uint32_t kSeed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const Vocabulary vocabulary = SmallVocabulary();
  constexpr uint32_t kBytes[] = {'a',  0xF0, 0x9F, 0x98, 0x80,   0xE4,  0xBD,
                                 0xA0, 0xC3, 0xA9, 0xED, kHello, kImEnd};
  for (int i = 0; i < 5000; ++i) {
    std::vector<uint32_t> ids(random() % 20);
    for (uint32_t& id : ids) id = kBytes[random() % std::size(kBytes)];
    const bool skip = random() % 2 == 0;
    std::string text, pending;
    for (size_t at = 0; at < ids.size();) {
      const size_t size = std::min<size_t>(random() % 4, ids.size() - at);
      const auto piece = DecodeNext(vocabulary, pending, {ids.data() + at, size}, {skip, false});
      ASSERT_TRUE(piece.ok());
      ASSERT_EQ(FindInvalidUtf8(piece->text), absl::string_view::npos);
      text += piece->text;
      pending = piece->pending;
      at += size;
    }
    text += DecodeNext(vocabulary, pending, {}, {skip, true})->text;
    ASSERT_EQ(text, *DecodeAll(vocabulary, ids, skip));
  }
}

}  // namespace
}  // namespace quartet::tokenizer
