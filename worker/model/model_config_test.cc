#include "worker/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "worker/model/hf_config.h"
#include "worker/model/testing/model_files.h"

namespace quartet::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::WriteFile;

// Qwen2.5-7B-Instruct's own file.
constexpr char kQwen7B[] = R"({
  "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
  "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
  "intermediate_size": 18944, "max_position_embeddings": 32768, "max_window_layers": 28,
  "model_type": "qwen2", "num_attention_heads": 28, "num_hidden_layers": 28,
  "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
  "sliding_window": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "transformers_version": "4.43.1", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 152064})";

// kQwen7B with one field replaced or added.
std::string With(const std::string& key, const std::string& value) {
  std::string text = kQwen7B;
  const std::string quoted = "\"" + key + "\": ";
  const size_t at = text.find(quoted);
  if (at == std::string::npos) return "{" + quoted + value + "," + text.substr(1);
  const size_t begin = at + quoted.size();
  const size_t end =
      text[begin] == '[' ? text.find(']', begin) + 1 : text.find_first_of(",}", begin);
  return text.replace(begin, end - begin, value);
}

std::string ErrorOf(const std::string& text) {
  const auto config = ParseHfConfig(text, "config.json");
  if (!config.ok()) return std::string(config.status().message());
  const absl::Status valid = ValidateConfig(*config);
  return std::string(valid.message());
}

TEST(ModelConfigTest, Qwen7BInstruct) {
  const auto config = ParseHfConfig(kQwen7B, "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kQwen2);
  EXPECT_EQ(config->vocab_size, 152064);
  EXPECT_EQ(config->hidden_size, 3584);
  EXPECT_EQ(config->intermediate_size, 18944);
  EXPECT_EQ(config->num_layers, 28);
  EXPECT_EQ(config->num_heads, 28);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->rms_norm_eps, 1e-6f);
  EXPECT_TRUE(config->qkv_bias);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->rope.type, RopeConfig::Type::kNone);
  EXPECT_EQ(config->rope.theta, 1e6);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(151645));
  EXPECT_EQ(MaxModelLen(*config), 32768);
}

TEST(ModelConfigTest, YarnAsQwensReadmeWritesIt) {
  const auto config = ParseHfConfig(
      With("rope_scaling",
           R"({"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"})"),
      "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope.type, RopeConfig::Type::kYarn);
  EXPECT_EQ(config->rope.factor, 4);
  EXPECT_EQ(config->rope.theta, 1e6);
  EXPECT_EQ(config->rope.beta_fast, 32);
  EXPECT_EQ(MaxModelLen(*config), 131072);
}

TEST(ModelConfigTest, TheNewSpellingHoldsThetaToo) {
  std::string text =
      With("rope_parameters",
           R"({"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})");
  const auto config = ParseHfConfig(text, "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope.type, RopeConfig::Type::kLlama3);
  EXPECT_EQ(config->rope.theta, 500000);
  EXPECT_EQ(config->rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(MaxModelLen(*config), 32768);  // the file's positions count the stretching
}

TEST(ModelConfigTest, EveryRopeTypeParsesAndOthersAreRefusedByName) {
  ModelConfig config = *ParseHfConfig(kQwen7B, "config.json");
  const auto parse = [&](const std::string& text) { return ParseRopeScaling(text, config); };
  EXPECT_EQ(parse("null")->type, RopeConfig::Type::kNone);
  EXPECT_EQ(parse(R"({"rope_type": "default"})")->type, RopeConfig::Type::kNone);
  EXPECT_EQ(parse(R"({"type": "linear", "factor": 2})")->type, RopeConfig::Type::kLinear);
  EXPECT_EQ(parse(R"({"type": "dynamic", "factor": 2})")->type, RopeConfig::Type::kDynamic);
  EXPECT_EQ(parse(R"({"rope_type": "yarn", "type": "yarn", "factor": 2})")->type,
            RopeConfig::Type::kYarn);
  const auto linear = parse(R"({"type": "linear", "factor": 2})");
  EXPECT_EQ(linear->theta, 1e6);
  config.rope = *linear;
  EXPECT_EQ(MaxModelLen(config), 65536);

  const struct {
    const char* text;
    const char* error;
  } bad[] = {
      {R"({"rope_type": "longrope", "factor": 2})", "longrope"},
      {R"({"rope_type": "su", "factor": 2})", "\"su\""},
      {R"({"type": "yarn", "rope_type": "linear", "factor": 2})", "the same as rope_type"},
      {R"({"factor": 2})", "rope_type is missing"},
      {R"({"rope_type": "yarn"})", "factor is missing"},
      {R"({"rope_type": "yarn", "factor": 0.5})", "factor is 0.5"},
      {R"({"rope_type": "yarn", "factor": "4"})", "factor is \"4\""},
      {R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": -1})", "is -1"},
      {R"({"rope_type": "yarn", "factor": 4, "truncate": false})", "truncate is false"},
      {R"({"rope_type": "yarn", "factor": 4, "beta_fast": 1, "beta_slow": 2})", "beta_fast is 1"},
      {R"({"rope_type": "llama3", "factor": 4, "low_freq_factor": 1, "high_freq_factor": 4})",
       "original_max_position_embeddings is missing"},
      {R"({"rope_type": "llama3", "factor": 4, "low_freq_factor": 4, "high_freq_factor": 4,
           "original_max_position_embeddings": 8192})",
       "high_freq_factor is 4"},
      {R"({"rope_type": 3})", "rope_type is 3"},
      {R"([1])", "expected an object"},
      {R"({"rope_type": )", "not valid JSON"},
  };
  for (const auto& c : bad) {
    const auto rope = parse(c.text);
    ASSERT_FALSE(rope.ok()) << c.text;
    EXPECT_THAT(std::string(rope.status().message()),
                AllOf(HasSubstr("rope_scaling"), HasSubstr(c.error)))
        << c.text;
  }
}

TEST(ModelConfigTest, TheServedLengthIsTheFlagsOrTheModels) {
  ModelConfig config = *ParseHfConfig(kQwen7B, "config.json");
  EXPECT_EQ(*ServedModelLen(config, 0), 32768);
  EXPECT_EQ(*ServedModelLen(config, 4096), 4096);
  EXPECT_EQ(*ServedModelLen(config, 32768), 32768);
  for (const int64_t bad : {int64_t{-1}, int64_t{32769}, INT64_MAX}) {
    EXPECT_THAT(std::string(ServedModelLen(config, bad).status().message()),
                AllOf(HasSubstr("max_model_len is " + std::to_string(bad)), HasSubstr("1 to 32768"),
                      HasSubstr("--rope_scaling")));
  }
  config.rope = *ParseRopeScaling(R"({"rope_type": "yarn", "factor": 4})", config);
  EXPECT_EQ(*ServedModelLen(config, 0), 131072);
  EXPECT_EQ(*ServedModelLen(config, 100000), 100000);
}

TEST(ModelConfigTest, BadFieldsAreNamedWithTheirValue) {
  const struct {
    const char* key;
    const char* value;
    const char* error;
  } bad[] = {
      {"architectures", "[\"MixtralForCausalLM\"]", "MixtralForCausalLM"},
      {"architectures", "[]", "architectures is []"},
      {"hidden_size", "-1", "hidden_size is -1"},
      {"hidden_size", "0", "hidden_size is 0"},
      {"hidden_size", "\"3584\"", "hidden_size is \"3584\""},
      {"hidden_size", "3584.5", "hidden_size is 3584.5"},
      {"hidden_size", "99999999999999999999", "hidden_size is"},
      {"hidden_size", "18446744073709551615", "hidden_size is 18446744073709551615"},
      {"num_hidden_layers", "null", "num_hidden_layers is missing"},
      {"num_attention_heads", "27", "27 heads don't divide hidden_size 3584"},
      {"num_key_value_heads", "5", "num_key_value_heads is 5"},
      {"head_dim", "127", "head_dim is 127"},
      {"vocab_size", "true", "vocab_size is true"},
      {"rms_norm_eps", "0", "rms_norm_eps is 0"},
      {"rope_theta", "-5", "rope_theta is -5"},
      {"eos_token_id", "152064", "eos_token_id is 152064"},
      {"eos_token_id", "[1, \"2\"]", "eos_token_id is [1,\"2\"]"},
      {"tie_word_embeddings", "1", "tie_word_embeddings is 1"},
      {"use_sliding_window", "true", "use_sliding_window is true"},
      {"hidden_act", "\"gelu\"", "hidden_act is \"gelu\""},
      {"mlp_bias", "true", "mlp_bias is true"},
      {"partial_rotary_factor", "0.5", "partial_rotary_factor is 0.5"},
      {"quantization_config", "{\"quant_method\": \"awq\"}", "awq"},
      {"layer_types", "[\"full_attention\", \"sliding_attention\"]", "layer_types"},
      {"rope_scaling", "{\"rope_type\": \"longrope\", \"factor\": 4}", "longrope"},
  };
  for (const auto& c : bad) {
    EXPECT_THAT(ErrorOf(With(c.key, c.value)), HasSubstr(c.error)) << c.key << " " << c.value;
  }
  EXPECT_EQ(ErrorOf(With("head_dim", "null")), "");
  EXPECT_EQ(ErrorOf(With("rope_scaling", "null")), "");
  EXPECT_EQ(ErrorOf(With("layer_types", "[\"full_attention\"]")), "");
}

TEST(ModelConfigTest, BrokenJsonIsRefused) {
  EXPECT_THAT(ErrorOf("{\"hidden_size\": "), HasSubstr("config.json: not valid JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(ErrorOf("{\"a\": \"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf("{\"hidden_size\": 1, \"hidden_size\": 2}"),
              HasSubstr("\"hidden_size\" stands twice"));
  EXPECT_THAT(ErrorOf(std::string(1000000, '[')), HasSubstr("not valid JSON"));
}

TEST(ModelConfigTest, LlamaHasBiasesOnlyIfItSaysSo) {
  const std::string llama = With("architectures", "[\"LlamaForCausalLM\"]");
  EXPECT_FALSE(ParseHfConfig(llama, "config.json")->qkv_bias);
  EXPECT_TRUE(ParseHfConfig("{\"attention_bias\": true," + llama.substr(1), "c")->qkv_bias);
}

TEST(ModelConfigTest, ADirectoryGivesBothFiles) {
  const TemporaryDirectory directory;
  WriteFile(directory.File("config.json"), kQwen7B);
  auto config = ReadModelConfig(directory.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->generation.temperature.has_value());
  EXPECT_THAT(directory.path(), HasSubstr(config->model.name));

  WriteFile(directory.File("generation_config.json"),
            R"({"do_sample": true, "eos_token_id": [151645, 151643], "repetition_penalty": 1.05,
                "temperature": 0.7, "top_p": 0.8, "top_k": 20})");
  config = ReadModelConfig(directory.path() + "/");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->model.eos_token_ids, ElementsAre(151645, 151643));
  EXPECT_EQ(config->generation.temperature, 0.7f);
  EXPECT_EQ(config->generation.top_p, 0.8f);
  EXPECT_EQ(config->generation.top_k, 20);
  EXPECT_EQ(config->generation.repetition_penalty, 1.05f);
  EXPECT_FALSE(config->generation.min_p.has_value());

  WriteFile(directory.File("generation_config.json"), R"({"temperature": -1})");
  EXPECT_THAT(std::string(ReadModelConfig(directory.path()).status().message()),
              AllOf(HasSubstr("generation_config.json"), HasSubstr("temperature is -1")));
}

TEST(ModelConfigTest, NoModelIsSaidPlainly) {
  const TemporaryDirectory directory;
  EXPECT_THAT(std::string(ReadModelConfig("/nowhere/model").status().message()),
              HasSubstr("/nowhere/model: no such model"));
  EXPECT_THAT(std::string(ReadModelConfig(directory.path()).status().message()),
              HasSubstr(directory.path() + "/config.json"));
  WriteFile(directory.File("config.json"), "");
  EXPECT_THAT(std::string(ReadModelConfig(directory.path()).status().message()),
              HasSubstr("the file is empty"));
}

// Whatever happens to a config, there is a status and no crash.
TEST(ModelConfigTest, MutatedFilesNeverCrash) {
  const uint64_t seed = 77;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  const std::string original = With("rope_scaling", R"({"type": "yarn", "factor": 4})");
  int loaded = 0;
  for (uint64_t trial = 0; trial < 4000; ++trial) {
    std::string text = original;
    uint64_t random = testing::SplitMix64(seed + trial);
    for (uint64_t flips = random % 3 + 1; flips > 0; --flips) {
      random = testing::SplitMix64(random);
      text[random % text.size()] = static_cast<char>(random >> 32);
    }
    if (trial % 10 == 0) text.resize(random % text.size());
    const auto config = ParseHfConfig(text, "config.json");
    if (config.ok() && ValidateConfig(*config).ok()) ++loaded;
  }
  EXPECT_GT(loaded, 0);
  EXPECT_LT(loaded, 4000);
}

}  // namespace
}  // namespace quartet::model
