#include "tokenizer_service/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tokenizer_service/nfc.h"
#include "tokenizer_service/testing/small_vocabulary.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Tokenizer> WithAdded(const AddedToken& added) {
  Vocabulary vocabulary = SmallVocabulary();
  AddedToken placed = added;
  placed.id = static_cast<uint32_t>(vocabulary.tokens.size());
  EXPECT_TRUE(AddAddedToken(placed, &vocabulary).ok());
  return Tokenizer::Create(std::move(vocabulary), TokenizerOptions());
}

constexpr uint32_t kNew = 264;  // the id that WithAdded gives

AddedToken Added(const std::string& content) {
  AddedToken added;
  added.content = content;
  return added;
}

TEST(TokenizerTest, FindsAddedTokensInsideText) {
  const auto tokenizer = Tokenizer::Create(SmallVocabulary(), TokenizerOptions());
  EXPECT_THAT(
      *tokenizer->Encode("hello<|im_end|><tool_call>!<|im_end|", true),
      ElementsAre(kHello, kImEnd, kToolCall, '!', '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|'));
}

TEST(TokenizerTest, TakesTheLeftmostAndThenTheLongest) {
  const auto tokenizer = WithAdded(Added("<|im_end|>x"));
  EXPECT_THAT(*tokenizer->Encode("<|im_end|>x<|im_end|>", true), ElementsAre(kNew, kImEnd));
}

TEST(TokenizerTest, StripFlagsTakeSpaces) {
  AddedToken added = Added("@@");
  added.lstrip = true;
  added.rstrip = true;
  const auto tokenizer = WithAdded(added);
  EXPECT_THAT(*tokenizer->Encode("a \n @@ \xC2\xA0 b@@@@", true),
              ElementsAre('a', kNew, 'b', kNew, kNew));
}

TEST(TokenizerTest, SingleWordsStandAlone) {
  AddedToken added = Added("zz");
  added.single_word = true;
  const auto tokenizer = WithAdded(added);
  EXPECT_THAT(*tokenizer->Encode("zz", true), ElementsAre(kNew));
  EXPECT_THAT(*tokenizer->Encode("zz.zz", true), ElementsAre(kNew, '.', kNew));
  EXPECT_THAT(*tokenizer->Encode("azz", true), ElementsAre('a', 'z', 'z'));
  EXPECT_THAT(*tokenizer->Encode("zz1", true), ElementsAre('z', 'z', '1'));
}

TEST(TokenizerTest, NormalizedTokensAreFoundAfterNormalisation) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.nfc = true;
  AddedToken added = Added("\xC3\xA9!");  // é!
  added.id = kNew;
  added.normalized = true;
  ASSERT_TRUE(AddAddedToken(added, &vocabulary).ok());
  const auto tokenizer = Tokenizer::Create(std::move(vocabulary), TokenizerOptions());
  EXPECT_THAT(*tokenizer->Encode("xe\xCC\x81!", true), ElementsAre('x', kNew));
}

TEST(TokenizerTest, RefusesInvalidUtf8WithItsOffset) {
  const auto tokenizer = Tokenizer::Create(SmallVocabulary(), TokenizerOptions());
  for (const std::string bad :
       {"abcdefghij\xff", "abcdefghij\xED\xA0\x80", "abcdefghij\xE4\xBD", "abcdefghij\xC0\x80"}) {
    const auto ids = tokenizer->Encode(bad, true);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(ids.status().message(), HasSubstr("byte offset 10"));
  }
}

TEST(TokenizerTest, RefusesLongTextsNamingBothSizes) {
  TokenizerOptions options;
  options.max_text_bytes = 100;
  const auto tokenizer = Tokenizer::Create(SmallVocabulary(), options);
  EXPECT_TRUE(tokenizer->Encode(std::string(100, 'a'), true).ok());
  const auto ids = tokenizer->Encode(std::string(101, 'a'), true);
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(ids.status().message(), HasSubstr("101 bytes; at most 100"));
}

TEST(TokenizerTest, TheHashKnowsWhatChangesIds) {
  const auto hash = [](const Vocabulary& vocabulary) { return HashVocabulary(vocabulary); };
  const Vocabulary vocabulary = SmallVocabulary();
  EXPECT_EQ(hash(vocabulary), hash(SmallVocabulary()));
  Vocabulary changed = vocabulary;
  changed.nfc = true;
  EXPECT_NE(hash(changed), hash(vocabulary));
  changed = vocabulary;
  std::swap(changed.merges[0], changed.merges[1]);
  EXPECT_NE(hash(changed), hash(vocabulary));
  changed = vocabulary;
  changed.added_tokens[0].rstrip = true;
  EXPECT_NE(hash(changed), hash(vocabulary));
}

TEST(TokenizerTest, ThreadsShareIt) {
  const auto tokenizer = Tokenizer::Create(SmallVocabulary(), TokenizerOptions());
  const std::string text = "hello hello, <|im_start|>hellohello w\xC3\xB6rld";
  const std::vector<uint32_t> expected = *tokenizer->Encode(text, true);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) EXPECT_EQ(*tokenizer->Encode(text, true), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(NfcTest, ComposesAndSorts) {
  const std::pair<const char*, const char*> cases[] = {
      {"plain", "plain"},
      {"e\xCC\x81", "\xC3\xA9"},                                 // e, acute
      {"q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87"},                // dot above, dot below: sorted
      {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"},  // Hangul
      {"\xE2\x84\xAB", "\xC3\x85"},                              // Angstrom sign
      {"x\xE0\xA5\x98y", "x\xE0\xA4\x95\xE0\xA4\xBCy"},          // excluded from composition
      {"\xCC\x81", "\xCC\x81"},                                  // a mark alone
      {"a\xCC\x81 b\xCC\x81 c\xCC\xA7", "\xC3\xA1 b\xCC\x81 \xC3\xA7"},
  };
  for (const auto& [text, expected] : cases) {
    std::string buffer;
    EXPECT_EQ(NormalizeNfc(text, &buffer), expected);
  }
}

TEST(NfcTest, CharactersNewerThanTheReferenceStay) {
  // U+11935 U+11930 compose to U+11938 since Unicode 13.
  const std::string text = "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0";
  std::string buffer;
  EXPECT_EQ(NormalizeNfc(text, &buffer), text);
}

TEST(NfcTest, ManyMarksSortInReasonableTime) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i)
    text += i % 2 == 0 ? "\xCD\x85" : "\xCC\xB4";  // classes 240 and 1
  std::string buffer;
  const absl::string_view normalized = NormalizeNfc(text, &buffer);
  EXPECT_EQ(normalized.size(), text.size());
  EXPECT_EQ(normalized.substr(1, 4), "\xCC\xB4\xCC\xB4");
}

}  // namespace
}  // namespace quartet::tokenizer
