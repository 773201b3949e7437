// Strings with lengths over tokens of several characters: a token may open, fill and close them.
#include "worker/grammar/string_length.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "worker/grammar/testing/text_grammar.h"

namespace quartet::grammar {
namespace {

Vocabulary LongTokens() {
  Vocabulary vocabulary = ByteVocabulary();
  for (const char* token :
       {"\"\"", "ab", "abcd", "\"a", "\"abcd", "ab\"", "a\",\"b", "\":\"", "é", "éé", "\",\"",
        "{\"", "\"}", "[\"", "\"]", "abcdefgh", "\\n", "a\\\\"}) {
    vocabulary.tokens.push_back(token);
    vocabulary.is_special.push_back(false);
  }
  return vocabulary;
}

constexpr int64_t kVocabSize = 300;

// Texts that random choices among the allowed tokens bring.
std::vector<std::string> RandomTexts(const std::string& schema, int count, std::mt19937* random) {
  const Vocabulary vocabulary = LongTokens();
  static const auto backend = MakeBackend(vocabulary, kVocabSize).value();
  OutputFormat format;
  format.kind = OutputFormat::Kind::kJsonSchema;
  format.text = schema;
  format.compact_json = true;
  const auto grammar = backend->Compile(format, {}).value();
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    const auto matcher = grammar->NewMatcher().value();
    std::vector<uint32_t> mask((kVocabSize + 31) / 32);
    std::string text;
    for (int step = 0; step < 400; ++step) {
      EXPECT_TRUE(matcher->FillMask(mask).ok());
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < kVocabSize; ++id) {
        // Long tokens and ASCII, so that most choices are interesting ones.
        const bool is_wanted = id >= 257 || (id >= 0x20 && id < 0x7f && (*random)() % 8 == 0);
        if (mask[id / 32] >> (id % 32) & 1 && is_wanted) allowed.push_back(id);
      }
      if (matcher->CanEnd() && (allowed.empty() || (*random)() % 4 == 0)) {
        texts.push_back(text);
        break;
      }
      if (allowed.empty()) continue;
      const int32_t id = allowed[(*random)() % allowed.size()];
      EXPECT_TRUE(matcher->Accept(id).ok()) << text;
      text += vocabulary.tokens[static_cast<size_t>(id)];
    }
  }
  return texts;
}

size_t Characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

TEST(StringLengthTest, CodesKeepTheirLengths) {
  for (const StringLength length : {StringLength{0, 0}, {3, 7}, {511, 20'000}, {1, std::nullopt}}) {
    const StringLength decoded = DecodeLength(EncodeLength(length));
    EXPECT_EQ(decoded.min, length.min);
    EXPECT_EQ(decoded.max, length.max);
  }
  EXPECT_GT(EncodeLength({0, 8}), EncodeLength({5, 7}));
  EXPECT_GT(EncodeLength({0, std::nullopt}), EncodeLength({0, 20'000}));
}

TEST(StringLengthTest, NoTokenEvadesThem) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int num_texts = 0;
  for (const auto& [min, max] : {std::pair{0, 3}, {1, 5}, {4, 4}, {2, 30}}) {
    const std::string schema = absl::StrCat(
        R"({"type":"array","minItems":1,"maxItems":5,"items":{"type":"string","minLength":)", min,
        R"(,"maxLength":)", max, "}}");
    for (const std::string& text : RandomTexts(schema, 100, &random)) {
      ++num_texts;
      const nlohmann::json value = nlohmann::json::parse(text);
      for (const auto& item : value) {
        const size_t length = Characters(item.get<std::string>());
        EXPECT_TRUE(length >= static_cast<size_t>(min) && length <= static_cast<size_t>(max))
            << text;
      }
    }
  }
  EXPECT_GT(num_texts, 200);
}

}  // namespace
}  // namespace quartet::grammar
