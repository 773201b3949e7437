#include "tokenizer_service/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include "tokenizer_service/gguf_metadata.h"
#include "tokenizer_service/testing/gguf_writer.h"
#include "tokenizer_service/testing/small_vocabulary.h"
#include "tokenizer_service/tokenizer.h"

namespace quartet::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// What the keys of a small, whole file are; tests change one.
struct Fields {
  std::string model = "gpt2";
  std::string pre = "qwen2";
  std::vector<std::string> tokens = SmallTokens();
  std::vector<std::string> merges = SmallMerges();
  std::vector<int32_t> types;
  uint32_t eos = 262;
  bool add_bos = false;

  Fields() {
    types.assign(tokens.size(), 1);
    for (const char* token : {"<|im_start|>", "<|im_end|>", "<tool_call>", "[PAD264]"})
      tokens.push_back(token);
    for (const int32_t type : {3, 3, 4, 5}) types.push_back(type);
  }
  std::string Bytes() const {
    return GgufWriter()
        .Text("general.architecture", "qwen2")
        .Number("qwen2.block_count", 2)
        .Text("tokenizer.ggml.model", model)
        .Text("tokenizer.ggml.pre", pre)
        .Texts("tokenizer.ggml.tokens", tokens)
        .Numbers("tokenizer.ggml.token_type", types)
        .Texts("tokenizer.ggml.merges", merges)
        .Number("tokenizer.ggml.eos_token_id", eos)
        .Number("tokenizer.ggml.bos_token_id", 261)
        .Boolean("tokenizer.ggml.add_bos_token", add_bos)
        .Text("tokenizer.chat_template", "{{ x }}")
        .Text("tokenizer.chat_template.tool_use", "{{ y }}")
        .Bytes();
  }
};

void ExpectRefused(const Fields& fields, absl::string_view part) {
  const auto vocabulary = ParseGgufVocabulary(fields.Bytes());
  ASSERT_FALSE(vocabulary.ok());
  EXPECT_THAT(std::string(vocabulary.status().message()), HasSubstr(std::string(part)));
}

TEST(GgufVocabularyTest, ReadsAWholeVocabulary) {
  const auto vocabulary = ParseGgufVocabulary(Fields().Bytes());
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->tokens.size(), 264u);  // the unused one at the end does not count
  EXPECT_EQ(vocabulary->split_pattern, SplitPattern::kQwen2);
  EXPECT_TRUE(vocabulary->nfc);
  EXPECT_TRUE(vocabulary->tokens[kImEnd].special);
  EXPECT_FALSE(vocabulary->tokens[kToolCall].special);
  EXPECT_EQ(vocabulary->chat_template.text, "{{ x }}");
  EXPECT_EQ(vocabulary->chat_template.tool_use_text, "{{ y }}");
  EXPECT_THAT(vocabulary->chat_template.special_tokens,
              ElementsAre(Pair("bos_token", "<|im_start|>"), Pair("eos_token", "<|im_end|>")));
  EXPECT_THAT(vocabulary->eos_ids, ElementsAre(kImEnd));
  EXPECT_FALSE(vocabulary->bos_id.has_value());
  const auto tokenizer = Tokenizer::Create(*vocabulary, TokenizerOptions());
  EXPECT_THAT(*tokenizer->Encode("hello hello<|im_end|>", true),
              ElementsAre(kHello, kSpaceHello, kImEnd));
}

TEST(GgufVocabularyTest, AddsTheFirstTokenIfTheFileSaysSo) {
  Fields fields;
  fields.add_bos = true;
  const auto tokenizer =
      Tokenizer::Create(*ParseGgufVocabulary(fields.Bytes()), TokenizerOptions());
  EXPECT_THAT(*tokenizer->Encode("hello", true), ElementsAre(kImStart, kHello));
  EXPECT_THAT(*tokenizer->Encode("hello", false), ElementsAre(kHello));
}

TEST(GgufVocabularyTest, NamesFieldAndValueOfWhatIsWrong) {
  Fields fields;
  fields.model = "llama";
  ExpectRefused(fields, "tokenizer.ggml.model is \"llama\"");
  fields = Fields();
  fields.pre = "deepseek-llm";
  ExpectRefused(fields, "tokenizer.ggml.pre is \"deepseek-llm\"");
  fields = Fields();
  fields.types.pop_back();
  ExpectRefused(fields, "tokenizer.ggml.token_type has 264");
  fields = Fields();
  fields.merges[1] = "l\xC4\xA0l";
  ExpectRefused(fields, "tokenizer.ggml.merges[1]");
  fields = Fields();
  fields.merges[2] = "he he";
  ExpectRefused(fields, "\"hehe\" is no token");
  fields = Fields();
  fields.eos = 99999;
  ExpectRefused(fields, "tokenizer.ggml.eos_token_id is 99999");
  fields = Fields();
  fields.tokens[7] = "\xff";
  ExpectRefused(fields, "tokenizer.ggml.tokens[7] is not UTF-8");
  fields = Fields();
  fields.tokens[7] = fields.tokens[8];
  ExpectRefused(fields, "tokenizer.ggml.tokens[8] repeats");
  fields = Fields();
  fields.types[3] = 77;
  ExpectRefused(fields, "tokenizer.ggml.token_type[3] is 77");
}

TEST(GgufVocabularyTest, RefusesOtherFiles) {
  EXPECT_THAT(ParseGgufVocabulary("PK\3\4 whatever").status().message(),
              HasSubstr("not a GGUF file"));
  EXPECT_THAT(ParseGgufVocabulary(GgufWriter().Bytes(1)).status().message(),
              HasSubstr("version 1"));
  EXPECT_THAT(ParseGgufVocabulary(GgufWriter().Bytes()).status().message(),
              HasSubstr("tokenizer.ggml.model"));
  EXPECT_THAT(ParseGgufVocabulary(GgufWriter().Number("tokenizer.ggml.model", 1).Bytes())
                  .status()
                  .message(),
              HasSubstr("is not a string"));
}

TEST(GgufVocabularyTest, NamesTheFile) {
  const std::string path = testing::TempDir() + "/broken.gguf";
  std::ofstream(path, std::ios::binary) << "GGUF";
  EXPECT_THAT(LoadGgufVocabulary(path).status().message(), HasSubstr(path));
  EXPECT_THAT(LoadVocabulary(path + ".missing").status().message(), HasSubstr("no such file"));
}

TEST(GgufVocabularyTest, EveryCutIsRefused) {
  const std::string bytes = Fields().Bytes();
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 97) {
    ASSERT_FALSE(ParseGgufVocabulary(absl::string_view(bytes).substr(0, size)).ok()) << size;
  }
}

// Overwrites random bytes, often with what makes lengths huge. Anything but a crash or a hang will
// do.
TEST(GgufVocabularyTest, DamagedFilesNeverCrash) {
  const char* const given = std::getenv("QUARTET_FUZZ_SEED");
  const uint32_t seed = given == nullptr ? 11 : static_cast<uint32_t>(std::atoi(given));
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string whole = Fields().Bytes();
  int num_refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = whole;
    for (int n = 1 + static_cast<int>(random() % 4); n > 0; --n) {
      // The front holds the lengths that matter most.
      const size_t limit = random() % 2 == 0 ? 400 : bytes.size();
      const char with[] = {'\xff', '\x7f', '\0', '\x09', static_cast<char>(random())};
      bytes[random() % limit] = with[random() % std::size(with)];
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto vocabulary = ParseGgufVocabulary(bytes);
    if (!vocabulary.ok()) {
      ++num_refused;
      continue;
    }
    const auto tokenizer = Tokenizer::Create(*vocabulary, TokenizerOptions());
    EXPECT_TRUE(tokenizer->Encode("hello w\xC3\xB6rld", true).ok());
  }
  EXPECT_GT(num_refused, 1000);
}

}  // namespace
}  // namespace quartet::tokenizer
