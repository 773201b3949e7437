#include "tokenizer_service/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tokenizer_service/testing/small_vocabulary.h"
#include "tokenizer_service/tokenizer.h"

namespace quartet::tokenizer {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

// A small tokenizer.json with the stages of SmolLM2; tests change one thing.
Json Document() {
  Json vocab = Json::object();
  const std::vector<std::string> tokens = SmallTokens();
  for (size_t id = 0; id < tokens.size(); ++id) vocab[tokens[id]] = id;
  Json pre = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, ByteLevel(true)}}};
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", SmallMerges()}}},
          {"added_tokens", {{{"id", 261}, {"content", "<|im_start|>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre},
          {"post_processor", nullptr},
          {"decoder", ByteLevel(true)}};
}

void ExpectRefused(const Json& document, const std::string& part) {
  const auto vocabulary = ParseTokenizerJson(document.dump());
  ASSERT_FALSE(vocabulary.ok()) << part;
  EXPECT_EQ(vocabulary.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(vocabulary.status().message()), HasSubstr(part));
}

TEST(TokenizerJsonTest, ReadsAWholeFile) {
  const auto vocabulary = ParseTokenizerJson(Document().dump());
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_TRUE(vocabulary->individual_digits);
  EXPECT_EQ(vocabulary->split_pattern, SplitPattern::kGpt2);
  const auto tokenizer = Tokenizer::Create(*vocabulary, TokenizerOptions());
  EXPECT_THAT(*tokenizer->Encode("<|im_start|>hello12", true), ElementsAre(261, kHello, '1', '2'));
}

TEST(TokenizerJsonTest, MergesMayBePairs) {
  Json document = Document();
  document["model"]["merges"] =
      Json::parse(R"([["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"], ["\u0120", "hello"]])");
  const auto vocabulary = ParseTokenizerJson(document.dump());
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->merges.size(), 5u);
}

TEST(TokenizerJsonTest, TemplatesMayPutTokensBefore) {
  Json document = Document();
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
      {"special_tokens", {{"<s>", {{"ids", {261}}}}}}};
  const auto vocabulary = ParseTokenizerJson(document.dump());
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_THAT(vocabulary->prefix_ids, ElementsAre(261));
  EXPECT_EQ(vocabulary->bos_id, 261u);
  document["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "<s>"}}}});
  ExpectRefused(document, "post_processor");
}

TEST(TokenizerJsonTest, UnknownStagesAreRefusedByName) {
  Json document = Document();
  document["normalizer"] = {{"type", "NFKC"}};
  ExpectRefused(document, "NFKC");
  document = Document();
  document["pre_tokenizer"] = {{"type", "Metaspace"}};
  ExpectRefused(document, "Metaspace");
  document = Document();
  document["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "\\p{N}{1,3}"}}}, {"behavior", "Isolated"}},
        ByteLevel(false)}}};
  ExpectRefused(document, "{1,3}");
  document = Document();
  document["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  ExpectRefused(document, "add_prefix_space");
  document = Document();
  document["decoder"] = {{"type", "WordPiece"}};
  ExpectRefused(document, "WordPiece");
  document = Document();
  document["model"]["type"] = "Unigram";
  ExpectRefused(document, "Unigram");
  document = Document();
  document["model"]["byte_fallback"] = true;
  ExpectRefused(document, "model.byte_fallback");
}

TEST(TokenizerJsonTest, BrokenFieldsAreNamed) {
  Json document = Document();
  document["model"]["merges"][2] = "he x";
  ExpectRefused(document, "model.merges[2]");
  document = Document();
  document["model"]["merges"][0] = 5;
  ExpectRefused(document, "model.merges[0] is 5");
  document = Document();
  document["model"]["vocab"]["he"] = -3;
  ExpectRefused(document, "model.vocab[\"he\"] is -3");
  document = Document();
  document["model"]["vocab"]["he"] = 257;
  ExpectRefused(document, "same id 257");
  document = Document();
  document["model"]["vocab"]["x1"] = 4000000000u;
  ExpectRefused(document, "4000000000");
  document = Document();
  document["added_tokens"][0]["id"] = 5;
  ExpectRefused(document, "added_tokens[0]");
  document = Document();
  document["added_tokens"][0].erase("content");
  ExpectRefused(document, "added_tokens[0]");
  document = Document();
  document.erase("model");
  ExpectRefused(document, "model.type");
  EXPECT_THAT(ParseTokenizerJson("{\"model\": {").status().message(), HasSubstr("is not JSON"));
  const std::string deep = "{\"normalizer\": " + std::string(3'000'000, '[');
  EXPECT_THAT(ParseTokenizerJson(deep).status().message(), HasSubstr("nested more than 64"));
  EXPECT_THAT(ParseTokenizerJson("[1]").status().message(), HasSubstr("not a JSON object"));
}

TEST(TokenizerJsonTest, TheConfigurationNamesItsTokens) {
  Vocabulary vocabulary = SmallVocabulary();
  ASSERT_TRUE(
      ApplyTokenizerConfig(R"({"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_start|>",
                                       "bos_token": null, "unk_token": "",
                                       "chat_template": [{"name": "default", "template": "T"},
                                                         {"name": "rag", "template": "R"},
                                                         {"name": "tool_use", "template": "U"}]})",
                           &vocabulary)
          .ok());
  EXPECT_THAT(vocabulary.eos_ids, ElementsAre(kImEnd));
  EXPECT_EQ(vocabulary.pad_id, kImStart);
  EXPECT_EQ(vocabulary.chat_template.text, "T");
  EXPECT_EQ(vocabulary.chat_template.tool_use_text, "U");
  EXPECT_THAT(vocabulary.chat_template.special_tokens,
              ElementsAre(Pair("eos_token", "<|im_end|>"), Pair("pad_token", "<|im_start|>")));
  EXPECT_THAT(ApplyTokenizerConfig(R"({"eos_token": "<none>"})", &vocabulary).message(),
              HasSubstr("eos_token"));
  EXPECT_FALSE(ApplyTokenizerConfig(R"({"chat_template": 5})", &vocabulary).ok());
  EXPECT_THAT(ApplyTokenizerConfig(R"({"chat_template": [{"name": "a"}]})", &vocabulary).message(),
              HasSubstr("chat_template is {\"name\":\"a\"}"));
}

TEST(TokenizerJsonTest, TemplatesOfFilesAreFound) {
  const std::string directory = testing::TempDir() + "/templates";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory + "/additional_chat_templates");
  std::ofstream(directory + "/tokenizer.json") << Document().dump();
  std::ofstream(directory + "/chat_template.json") << R"({"chat_template": "from json"})";
  std::ofstream(directory + "/additional_chat_templates/tool_use.jinja") << "for tools";
  auto vocabulary = LoadVocabulary(directory);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->chat_template.text, "from json");
  EXPECT_EQ(vocabulary->chat_template.tool_use_text, "for tools");
  std::ofstream(directory + "/tokenizer_config.json") << R"({"chat_template": "from config"})";
  EXPECT_EQ(LoadVocabulary(directory)->chat_template.text, "from config");
}

TEST(TokenizerJsonTest, ADirectoryIsReadWithItsTemplateFile) {
  const std::string directory = testing::TempDir() + "/model";
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/tokenizer.json") << Document().dump();
  std::ofstream(directory + "/tokenizer_config.json") << R"({"chat_template": "old"})";
  std::ofstream(directory + "/chat_template.jinja") << "new";
  const auto vocabulary = LoadVocabulary(directory);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->chat_template.text, "new");
  EXPECT_EQ(vocabulary->source, directory + "/tokenizer.json");
  std::ofstream(directory + "/tokenizer_config.json") << "{";
  EXPECT_THAT(LoadVocabulary(directory).status().message(),
              HasSubstr("tokenizer_config.json: is not JSON"));
}

TEST(TokenizerJsonTest, DamagedFilesNeverCrash) {
  constexpr uint32_t kSeed = 17;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const std::string whole = Document().dump();
  for (int i = 0; i < 1500; ++i) {
    std::string text = whole;
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) {
      const char with[] = {'"', '{', '}', ',', '0', '\\', '\xff', ' '};
      text[random() % text.size()] = with[random() % std::size(with)];
    }
    if (random() % 5 == 0) text.resize(random() % text.size());
    const auto vocabulary = ParseTokenizerJson(text);
    if (!vocabulary.ok()) continue;
    EXPECT_TRUE(Tokenizer::Create(*vocabulary, TokenizerOptions())->Encode("hello", true).ok());
  }
}

}  // namespace
}  // namespace quartet::tokenizer
