// The container, the configuration in it, and the tensors under HF's names.
#include "worker/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>

#include "worker/model/gguf_checkpoint.h"
#include "worker/model/gguf_config.h"
#include "worker/model/testing/gguf_model.h"
#include "worker/model/testing/model_files.h"

namespace quartet::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::WriteFile;

ModelConfig SmallConfig(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 40;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_layers = 1;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.qkv_bias = architecture == Architecture::kQwen2;
  config.max_position_embeddings = 8192;
  return config;
}

std::string SmallModel(Architecture architecture = Architecture::kLlama) {
  return testing::MakeGgufModel(SmallConfig(architecture),
                                [](const std::string&) { return "Q8_0"; })
      .bytes;
}

class GgufTest : public ::testing::Test {
 protected:
  absl::StatusOr<GgufFile> Open(const std::string& bytes) {
    WriteFile(directory_.File("model.gguf"), bytes);
    return GgufFile::Open(directory_.File("model.gguf"));
  }
  std::string OpenError(const std::string& bytes) {
    return std::string(Open(bytes).status().message());
  }
  absl::StatusOr<LoadedConfig> Config(const GgufWriter& writer) {
    WriteFile(directory_.File("model.gguf"), writer.Bytes());
    return ReadModelConfig(directory_.File("model.gguf"));
  }
  std::string ConfigError(const GgufWriter& writer) {
    return std::string(Config(writer).status().message());
  }
  // The metadata of SmallConfig and its embedding.
  GgufWriter Base(Architecture architecture = Architecture::kLlama) {
    GgufWriter writer;
    testing::AddGgufConfig(SmallConfig(architecture), &writer);
    writer.AddTensor("token_embd.weight", {40, 32}, 0, std::string(40 * 32 * 4, '\0'));
    return writer;
  }
  TemporaryDirectory directory_;
};

TEST_F(GgufTest, ReadsMetadataAndTensors) {
  GgufWriter writer;
  writer.AddText("text", "caf\xc3\xa9");
  writer.AddInt("int", 7);
  writer.AddNumber("number", 0.5f);
  writer.AddTextList("list", {"a", "bc"});
  writer.AddRaw("bool", 7, std::string(1, '\1'));
  writer.AddRaw("negative", 5, std::string("\xfe\xff\xff\xff", 4));
  writer.AddTensor("matrix", {3, 2}, 0, testing::FloatBytes({1, 2, 3, 4, 5, 6}));
  writer.AddTensor("vector", {4}, 0, testing::FloatBytes({1, 2, 3, 4}));
  for (const uint32_t version : {2, 3}) {
    const auto gguf = Open(writer.Bytes(version));
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    EXPECT_EQ(**gguf->Text("text"), "caf\xc3\xa9");
    EXPECT_EQ(**gguf->Int("int", 0, 10), 7);
    EXPECT_EQ(**gguf->Number("number", 0, 1), 0.5);
    EXPECT_EQ(**gguf->Number("int", 0, 10), 7);
    EXPECT_TRUE(**gguf->Bool("bool"));
    EXPECT_EQ(**gguf->Int("negative", -10, 10), -2);
    EXPECT_EQ(gguf->Find("list")->num_elements, 2);
    EXPECT_FALSE(gguf->Int("absent", 0, 1)->has_value());
    EXPECT_THAT(gguf->FindTensor("matrix")->shape, ElementsAre(3, 2));
    const GgufTensor* vector = gguf->FindTensor("vector");
    EXPECT_EQ(vector->end - vector->begin, 16);
    EXPECT_EQ(std::memcmp(gguf->file().data() + vector->begin,
                          testing::FloatBytes({1, 2, 3, 4}).data(), 16),
              0);
    EXPECT_THAT(std::string(gguf->Int("text", 0, 1).status().message()),
                AllOf(HasSubstr("model.gguf"), HasSubstr("text is \"caf")));
    EXPECT_THAT(std::string(gguf->RequiredInt("int", 8, 9).status().message()),
                HasSubstr("int is 7; expected an integer from 8 to 9"));
  }
}

TEST_F(GgufTest, DamagedFilesAreRefusedWithTheReason) {
  EXPECT_THAT(OpenError("GGML1234"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(OpenError("GG"), HasSubstr("ends inside"));
  EXPECT_THAT(OpenError(GgufWriter().Bytes(1)), HasSubstr("GGUF version 1; expected 2 or 3"));
  EXPECT_THAT(OpenError(GgufWriter().Bytes(__builtin_bswap32(3))), HasSubstr("big-endian"));

  std::string huge = GgufWriter().Bytes();
  huge.replace(8, 8, std::string(8, '\xff'));  // tensors
  EXPECT_THAT(OpenError(huge), HasSubstr("18446744073709551615 tensors"));
  huge = GgufWriter().Bytes();
  huge.replace(16, 8, std::string("\0\0\0\0\0\0\0\x10", 8));  // metadata values
  EXPECT_THAT(OpenError(huge), HasSubstr("more than fit"));

  const auto with_value = [&](uint32_t type, const std::string& value) {
    GgufWriter writer;
    writer.AddRaw("key", type, value);
    return OpenError(writer.Bytes());
  };
  const std::string eight_ff(8, '\xff');
  EXPECT_THAT(with_value(8, eight_ff), HasSubstr("key is said to have 18446744073709551615 bytes"));
  EXPECT_THAT(with_value(13, ""), HasSubstr("key has the unknown type 13"));
  EXPECT_THAT(with_value(9, std::string("\6\0\0\0", 4) + eight_ff), HasSubstr("ends inside key"));
  EXPECT_THAT(with_value(9, std::string("\x8\0\0\0", 4) + eight_ff), HasSubstr("ends inside key"));
  EXPECT_THAT(with_value(9, std::string("\x9\0\0\0\1\0\0\0\0\0\0\0", 12)),
              HasSubstr("list of elements of type 9"));
  EXPECT_THAT(with_value(8, std::string("\1\0\0\0\0\0\0\0\xff", 9)), HasSubstr("not valid UTF-8"));

  GgufWriter twice;
  twice.AddInt("key", 1);
  twice.AddInt("key", 1);
  EXPECT_THAT(OpenError(twice.Bytes()), HasSubstr("key stands twice"));
  GgufWriter alignment;
  alignment.AddInt("general.alignment", 0);
  EXPECT_THAT(OpenError(alignment.Bytes()), HasSubstr("general.alignment is 0"));
}

TEST_F(GgufTest, DamagedTensorsAreRefusedWithTheReason) {
  const auto with_tensor = [&](const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset) {
    GgufWriter writer;
    writer.AddTensorInfo("t", shape, type, offset);
    return OpenError(writer.Bytes() + std::string(64, '\0'));
  };
  EXPECT_EQ(with_tensor({16}, 0, 0), "");
  EXPECT_THAT(with_tensor({}, 0, 0), HasSubstr("tensor t has 0 dimensions"));
  EXPECT_THAT(with_tensor({1, 1, 1, 1, 1}, 0, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(with_tensor({0}, 0, 0), HasSubstr("shape [0]"));
  EXPECT_THAT(with_tensor({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0),
              HasSubstr("expected positive sizes"));
  EXPECT_THAT(with_tensor({uint64_t{1} << 62}, 0, 0), HasSubstr("expected positive sizes"));
  EXPECT_THAT(with_tensor({~uint64_t{0}}, 0, 0), HasSubstr("expected positive sizes"));
  EXPECT_THAT(with_tensor({16}, 10, 0), HasSubstr("type Q2_K (10); expected F32"));
  EXPECT_THAT(with_tensor({16}, 999, 0), HasSubstr("type unknown (999)"));
  EXPECT_THAT(with_tensor({16}, 2, 0), HasSubstr("the last a multiple of Q4_0's 32"));
  EXPECT_THAT(with_tensor({4}, 0, 8), HasSubstr("offset 8; expected a multiple of 32"));
  EXPECT_THAT(with_tensor({16}, 0, 32), HasSubstr("truncated"));
  EXPECT_THAT(with_tensor({16}, 0, ~uint64_t{31}), HasSubstr("leaves the file"));
  GgufWriter twice;
  twice.AddTensorInfo("t", {8}, 0, 0);
  twice.AddTensorInfo("t", {8}, 0, 32);
  EXPECT_THAT(OpenError(twice.Bytes() + std::string(64, '\0')), HasSubstr("tensor t stands twice"));
}

TEST_F(GgufTest, ConfigOfBothArchitectures) {
  for (const Architecture architecture : {Architecture::kQwen2, Architecture::kLlama}) {
    WriteFile(directory_.File("small.gguf"), SmallModel(architecture));
    const auto loaded = ReadModelConfig(directory_.File("small.gguf"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const ModelConfig& config = loaded->model;
    EXPECT_EQ(config.architecture, architecture);
    EXPECT_EQ(config.vocab_size, 40);
    EXPECT_EQ(config.hidden_size, 32);
    EXPECT_EQ(config.intermediate_size, 64);
    EXPECT_EQ(config.num_layers, 1);
    EXPECT_EQ(config.num_heads, 4);
    EXPECT_EQ(config.num_kv_heads, 2);
    EXPECT_EQ(config.head_dim, 8);
    EXPECT_EQ(config.rms_norm_eps, 1e-6f);
    EXPECT_EQ(config.rope.theta, 10000);
    EXPECT_EQ(config.qkv_bias, architecture == Architecture::kQwen2);
    EXPECT_FALSE(config.tie_word_embeddings);
    EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
    EXPECT_EQ(config.name, "small");
    EXPECT_EQ(MaxModelLen(config), 8192);
  }
}

TEST_F(GgufTest, BadMetadataIsNamed) {
  EXPECT_THAT(ConfigError(GgufWriter()), HasSubstr("general.architecture is missing"));
  GgufWriter other;
  other.AddText("general.architecture", "gemma2");
  EXPECT_THAT(ConfigError(other),
              HasSubstr("general.architecture is \"gemma2\"; expected \"qwen2\" or \"llama\""));
  const struct {
    const char* key;
    uint32_t value;
  } bad[] = {{"llama.expert_count", 8},
             {"llama.attention.sliding_window", 4096},
             {"llama.rope.dimension_count", 4},
             {"llama.attention.value_length", 4},
             {"split.count", 3},
             {"tokenizer.ggml.eos_token_id", 40}};
  for (const auto& c : bad) {
    GgufWriter writer = Base();
    writer.AddInt(c.key, c.value);
    EXPECT_THAT(ConfigError(writer),
                HasSubstr(std::string(c.key) + " is " + std::to_string(c.value)));
  }
  ModelConfig wrong = SmallConfig(Architecture::kLlama);
  wrong.num_kv_heads = 3;
  GgufWriter heads;
  testing::AddGgufConfig(wrong, &heads);
  heads.AddTensor("token_embd.weight", {40, 32}, 0, std::string(40 * 32 * 4, '\0'));
  EXPECT_THAT(ConfigError(heads), HasSubstr("num_key_value_heads is 3"));
  wrong.num_kv_heads = 0;
  GgufWriter none;
  testing::AddGgufConfig(wrong, &none);
  EXPECT_THAT(ConfigError(none), HasSubstr("llama.attention.head_count_kv is 0"));
  GgufWriter no_embedding;
  testing::AddGgufConfig(SmallConfig(Architecture::kLlama), &no_embedding);
  EXPECT_THAT(ConfigError(no_embedding), HasSubstr("token_embd.weight is missing"));
}

TEST_F(GgufTest, RopeScaling) {
  GgufWriter yarn = Base(Architecture::kQwen2);
  yarn.AddText("qwen2.rope.scaling.type", "yarn");
  yarn.AddNumber("qwen2.rope.scaling.factor", 4);
  yarn.AddInt("qwen2.rope.scaling.original_context_length", 8192);
  auto config = Config(yarn);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope.type, RopeConfig::Type::kYarn);
  EXPECT_EQ(config->model.rope.factor, 4);
  EXPECT_EQ(MaxModelLen(config->model), 32768);

  GgufWriter old = Base();
  old.AddNumber("llama.rope.scale_linear", 2);
  config = Config(old);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope.type, RopeConfig::Type::kLinear);
  EXPECT_EQ(MaxModelLen(config->model), 16384);

  GgufWriter longrope = Base();
  longrope.AddText("llama.rope.scaling.type", "longrope");
  EXPECT_THAT(ConfigError(longrope), HasSubstr("llama.rope.scaling.type is \"longrope\""));
}

// The factors that Llama 3's converter writes, by the formulas of its config (theta as in Base).
std::vector<float> Llama3Factors(double factor, double original, int half_dim) {
  std::vector<float> factors;
  for (int i = 0; i < half_dim; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(10000.0, double(i) / half_dim);
    if (wavelength < original / 4) {
      factors.push_back(1);
    } else if (wavelength > original) {
      factors.push_back(static_cast<float>(factor));
    } else {
      const double smooth = (original / wavelength - 1) / 3;
      factors.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return factors;
}

TEST_F(GgufTest, Llama3ScalingIsRecognisedByItsFactors) {
  ModelConfig sizes = SmallConfig(Architecture::kLlama);
  sizes.head_dim = 128;
  const auto with_factors = [&](const std::vector<float>& factors) {
    GgufWriter writer;
    testing::AddGgufConfig(sizes, &writer);
    writer.AddTensor("token_embd.weight", {40, 32}, 0, std::string(40 * 32 * 4, '\0'));
    writer.AddTensor("rope_freqs.weight", {factors.size()}, 0, testing::FloatBytes(factors));
    return Config(writer);
  };
  auto config = with_factors(Llama3Factors(8, 8192, 64));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope.type, RopeConfig::Type::kLlama3);
  EXPECT_EQ(config->model.rope.factor, 8);
  EXPECT_EQ(config->model.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(config->model.rope.low_freq_factor, 1);
  EXPECT_EQ(config->model.rope.high_freq_factor, 4);

  config = with_factors(std::vector<float>(64, 1));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope.type, RopeConfig::Type::kNone);

  std::vector<float> other = Llama3Factors(8, 8192, 64);
  other[40] *= 1.01f;
  EXPECT_THAT(std::string(with_factors(other).status().message()), HasSubstr("rope_freqs.weight"));
  EXPECT_FALSE(with_factors({1, 2, 3}).ok());
}

TEST_F(GgufTest, TensorsHaveHfNames) {
  EXPECT_EQ(HfTensorName("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(HfTensorName("output.weight"), "lm_head.weight");
  EXPECT_EQ(HfTensorName("output_norm.weight"), "model.norm.weight");
  EXPECT_EQ(HfTensorName("blk.12.attn_k.bias"), "model.layers.12.self_attn.k_proj.bias");
  EXPECT_EQ(HfTensorName("blk.0.ffn_down.weight"), "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(HfTensorName("rope_freqs.weight"), "rope_freqs.weight");
  for (const char* odd : {"blk.", "blk.1", "blk.x.attn_q.weight", "blk.01.attn_q.weight",
                          "blk.-1.attn_q.weight", "blk.1.attn_z.weight", "blk..attn_q.weight"}) {
    EXPECT_EQ(HfTensorName(odd), odd);
  }
}

TEST_F(GgufTest, OverlappingTensorsAreRefused) {
  GgufWriter writer = Base();
  writer.AddTensorInfo("output_norm.weight", {32}, 0, 0);
  WriteFile(directory_.File("model.gguf"), writer.Bytes());
  const auto checkpoint = OpenCheckpoint(directory_.File("model.gguf"));
  EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr("must not overlap"));
}

// Whatever happens to a file, there is a status and no crash; what opens can be read.
TEST_F(GgufTest, MutatedFilesNeverCrash) {
  const uint64_t seed = 1234;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  const std::string original = SmallModel();
  const size_t head = original.find("ffn_down.weight") + 64;  // where mutations matter
  const std::string path = directory_.File("mutated.gguf");
  int opened = 0;
  for (uint64_t trial = 0; trial < 3000; ++trial) {
    std::string bytes = original;
    uint64_t random = testing::SplitMix64(seed + trial);
    for (uint64_t flips = random % 4 + 1; flips > 0; --flips) {
      random = testing::SplitMix64(random);
      bytes[random % head] = static_cast<char>(random >> 32);
    }
    if (trial % 8 == 0) bytes.resize(random % bytes.size());
    WriteFile(path, bytes);
    const auto config = ReadModelConfig(path);
    const auto checkpoint = OpenCheckpoint(path);
    if (!config.ok() || !checkpoint.ok()) continue;
    ++opened;
    for (const std::string& name : (*checkpoint)->Names()) {
      const TensorInfo& info = *(*checkpoint)->Find(name);
      if (info.shape.size() == 1) {
        std::vector<float> values(info.shape[0]);
        (void)(*checkpoint)->ReadVector(name, 0, info.shape[0], values.data());
      } else if (info.shape.size() == 2 && info.shape[0] % 8 == 0) {
        std::vector<kernels::bfloat16> values(info.shape[0] * info.shape[1]);
        (void)(*checkpoint)->ReadRows(name, 0, info.shape[0], 0, info.shape[1], values.data());
      }
    }
  }
  EXPECT_GT(opened, 0);
  EXPECT_LT(opened, 3000);
}

}  // namespace
}  // namespace quartet::model
