// Which bytes of a checkpoint end where in the packed weights, at every world size.
#include "worker/model/weight_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/golden/golden_weights.h"
#include "worker/model/testing/fake_device.h"
#include "worker/model/testing/gguf_model.h"
#include "worker/model/testing/model_files.h"

namespace quartet::model {
namespace {

using golden::GoldenFileOptions;
using golden::GoldenTensor;
using kernels::bfloat16;
using parallel::Shard;
using ::testing::AllOf;
using testing::FakeDevice;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

constexpr uint64_t kSeed = 99;

using Tensors = std::map<std::string, std::vector<float>>;

ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = 301;  // two and four ranks get padding
  config.hidden_size = 64;
  config.intermediate_size = 136;
  config.num_layers = 2;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 10;
  config.qkv_bias = true;
  config.max_position_embeddings = 128;
  return config;
}

Tensors GoldenModelValues(const ModelConfig& config) {
  Tensors tensors;
  for (const GoldenTensor& tensor : golden::GoldenTensors(config, {})) {
    const int64_t count =
        tensor.shape.size() == 2 ? tensor.shape[0] * tensor.shape[1] : tensor.shape[0];
    std::vector<float>& values = tensors[tensor.name];
    for (const bfloat16 value : golden::GoldenValues(tensor, kSeed, 0, count)) {
      values.push_back(kernels::ToFloat(value));
    }
  }
  return tensors;
}

// Compares a packed matrix with rows and columns of whole tensors, one expected row after the
// other.
class MatrixCheck {
 public:
  MatrixCheck(const char* name, const Tensors& tensors, const kernels::PackedMatrix& matrix)
      : name_(name), tensors_(tensors), matrix_(matrix), contents_(testing::Contents(matrix)) {}

  void Rows(const std::string& tensor, int64_t tensor_cols, int64_t first_row, int64_t num_rows,
            int64_t first_col) {
    const std::vector<float>& values = tensors_.at(tensor);
    for (int64_t row = 0; row < num_rows; ++row, ++next_row_) {
      for (int64_t col = 0; col < matrix_.cols; ++col) {
        const float expected = values[(first_row + row) * tensor_cols + first_col + col];
        ASSERT_EQ(contents_[next_row_ * matrix_.cols + col].bits,
                  kernels::ToBfloat16(expected).bits)
            << name_ << " " << next_row_ << ", " << col;
      }
    }
  }
  void Zeros(int64_t num_rows) {
    for (int64_t i = next_row_ * matrix_.cols; i < (next_row_ + num_rows) * matrix_.cols; ++i) {
      ASSERT_EQ(contents_[i].bits, 0) << name_;
    }
    next_row_ += num_rows;
  }
  void End() { EXPECT_EQ(next_row_, matrix_.rows) << name_; }

 private:
  const char* name_;
  const Tensors& tensors_;
  kernels::PackedMatrix matrix_;
  std::vector<bfloat16> contents_;
  int64_t next_row_ = 0;
};

void CheckVector(const Tensors& tensors, const std::string& tensor, int64_t first, int64_t count,
                 kernels::DevicePtr<const float> got) {
  ASSERT_TRUE(static_cast<bool>(got)) << tensor;
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_EQ(got.raw()[i], tensors.at(tensor)[first + i]) << tensor << " " << first + i;
  }
}

// Every number that a rank holds, from the definition of tensor parallelism.
void CheckWeights(const ModelConfig& config, const Tensors& tensors, int rank, int world_size,
                  const ModelWeights& weights) {
  const int64_t hidden = config.hidden_size, head_dim = config.head_dim;
  const int64_t q_rows = config.num_heads * head_dim / world_size;
  const int64_t kv_rows = config.num_kv_heads * head_dim / world_size;
  const int64_t ffn = config.intermediate_size / world_size;
  const int64_t vocab_rows = (config.vocab_size + world_size - 1) / world_size;
  const int64_t real_rows =
      std::max<int64_t>(0, std::min(vocab_rows, config.vocab_size - rank * vocab_rows));

  EXPECT_EQ(weights.vocab_rows, vocab_rows);
  EXPECT_EQ(weights.vocab_first_row, rank * vocab_rows);
  MatrixCheck embedding("embed_tokens", tensors, weights.embed_tokens);
  embedding.Rows("model.embed_tokens.weight", hidden, rank * vocab_rows, real_rows, 0);
  embedding.Zeros(vocab_rows - real_rows);
  embedding.End();
  MatrixCheck head("lm_head", tensors, weights.lm_head);
  head.Rows(config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", hidden,
            rank * vocab_rows, real_rows, 0);
  head.Zeros(vocab_rows - real_rows);
  head.End();
  EXPECT_EQ(weights.lm_head.data.raw() == weights.embed_tokens.data.raw(),
            config.tie_word_embeddings);
  CheckVector(tensors, "model.norm.weight", 0, hidden, weights.final_norm);

  ASSERT_EQ(weights.layers.size(), config.num_layers);
  for (int i = 0; i < config.num_layers; ++i) {
    const LayerWeights& layer = weights.layers[i];
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    MatrixCheck qkv("qkv_proj", tensors, layer.qkv_proj);
    qkv.Rows(prefix + "self_attn.q_proj.weight", hidden, rank * q_rows, q_rows, 0);
    qkv.Rows(prefix + "self_attn.k_proj.weight", hidden, rank * kv_rows, kv_rows, 0);
    qkv.Rows(prefix + "self_attn.v_proj.weight", hidden, rank * kv_rows, kv_rows, 0);
    qkv.End();
    MatrixCheck o("o_proj", tensors, layer.o_proj);
    o.Rows(prefix + "self_attn.o_proj.weight", config.num_heads * head_dim, 0, hidden,
           rank * q_rows);
    o.End();
    MatrixCheck gate_up("gate_up_proj", tensors, layer.gate_up_proj);
    gate_up.Rows(prefix + "mlp.gate_proj.weight", hidden, rank * ffn, ffn, 0);
    gate_up.Rows(prefix + "mlp.up_proj.weight", hidden, rank * ffn, ffn, 0);
    gate_up.End();
    MatrixCheck down("down_proj", tensors, layer.down_proj);
    down.Rows(prefix + "mlp.down_proj.weight", config.intermediate_size, 0, hidden, rank * ffn);
    down.End();
    CheckVector(tensors, prefix + "input_layernorm.weight", 0, hidden, layer.input_layernorm);
    CheckVector(tensors, prefix + "post_attention_layernorm.weight", 0, hidden,
                layer.post_attention_layernorm);
    EXPECT_EQ(static_cast<bool>(layer.qkv_bias), config.qkv_bias);
    if (config.qkv_bias) {
      CheckVector(tensors, prefix + "self_attn.q_proj.bias", rank * q_rows, q_rows, layer.qkv_bias);
      CheckVector(tensors, prefix + "self_attn.k_proj.bias", rank * kv_rows, kv_rows,
                  layer.qkv_bias + q_rows);
      CheckVector(tensors, prefix + "self_attn.v_proj.bias", rank * kv_rows, kv_rows,
                  layer.qkv_bias + q_rows + kv_rows);
    }
  }
}

void LoadAndCheck(const std::string& path, const Tensors& tensors) {
  const auto config = ReadModelConfig(path);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::string hash;
  for (const int world_size : parallel::PossibleWorldSizes(ShardedSizesOf(config->model))) {
    int64_t bytes = 0;
    for (int rank = 0; rank < world_size; ++rank) {
      SCOPED_TRACE(::testing::Message() << "rank " << rank << " of " << world_size);
      const auto shard = parallel::MakeShard(ShardedSizesOf(config->model), rank, world_size);
      ASSERT_TRUE(shard.ok()) << shard.status();
      FakeDevice device;
      LoadOptions options;
      options.num_threads = 3;
      options.chunk_bytes = 1;  // 64 rows: chunks end inside of q, k and v
      const auto weights = LoadWeights(**checkpoint, config->model, *shard, device, options);
      ASSERT_TRUE(weights.ok()) << weights.status();
      CheckWeights(config->model, tensors, rank, world_size, *weights);
      EXPECT_EQ(weights->weight_bytes, device.allocated_bytes);
      EXPECT_EQ(weights->num_parameters, NumParameters(config->model));
      EXPECT_TRUE(hash.empty() || hash == weights->model_hash);
      hash = weights->model_hash;
      bytes += weights->weight_bytes;
    }
    EXPECT_GE(bytes, 2 * NumParameters(config->model));
  }
}

TEST(WeightLoaderTest, SafetensorsOfEachDtypeAtEveryWorldSize) {
  const ModelConfig config = SmallConfig();
  const Tensors tensors = GoldenModelValues(config);
  for (const char* dtype : {"BF16", "F32"}) {
    SCOPED_TRACE(dtype);
    const TemporaryDirectory directory;
    ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}, {dtype, 0}).ok());
    LoadAndCheck(directory.path(), tensors);
  }
}

TEST(WeightLoaderTest, HalfPrecisionIsRoundedToBfloat16) {
  const ModelConfig config = SmallConfig();
  Tensors tensors = GoldenModelValues(config);
  // What a half can't hold was lost when the file was written.
  for (auto& [name, values] : tensors) {
    for (float& value : values) {
      if (std::abs(value) < 0x1p-14f) value = std::nearbyint(value * 0x1p24f) * 0x1p-24f;
    }
  }
  const TemporaryDirectory directory;
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}, {"F16", 0}).ok());
  LoadAndCheck(directory.path(), tensors);
}

TEST(WeightLoaderTest, SeveralFilesWithAnIndexAndTiedEmbeddings) {
  ModelConfig config = SmallConfig();
  config.tie_word_embeddings = true;
  const TemporaryDirectory directory;
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}, {"BF16", 3}).ok());
  LoadAndCheck(directory.path(), GoldenModelValues(config));
}

TEST(WeightLoaderTest, LlamaHasNoBiases) {
  ModelConfig config = SmallConfig();
  config.architecture = Architecture::kLlama;
  config.qkv_bias = false;
  const TemporaryDirectory directory;
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}).ok());
  LoadAndCheck(directory.path(), GoldenModelValues(config));
}

// Slices of 192 and 64 columns cut super-blocks of 256 at their sub-blocks, as the 7B's do.
TEST(WeightLoaderTest, GgufOfEachFormatAndArchitectureAtEveryWorldSize) {
  for (const Architecture architecture : {Architecture::kQwen2, Architecture::kLlama}) {
    ModelConfig config = SmallConfig();
    config.architecture = architecture;
    config.qkv_bias = architecture == Architecture::kQwen2;
    config.hidden_size = 256;
    config.intermediate_size = 768;
    config.head_dim = 32;
    config.num_layers = 1;
    for (const char* type :
         {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"}) {
      SCOPED_TRACE(::testing::Message() << type << " " << ArchitectureName(architecture));
      const TemporaryDirectory directory;
      const testing::GgufModel model =
          testing::MakeGgufModel(config, [&](const std::string&) { return type; });
      testing::WriteFile(directory.File("model.gguf"), model.bytes);
      LoadAndCheck(directory.File("model.gguf"), model.values);
    }
  }
}

TEST(WeightLoaderTest, SlicesThatCutSimpleBlocks) {
  ModelConfig config = SmallConfig();
  config.hidden_size = 64;
  config.intermediate_size = 160;  // 40 columns at four ranks, in blocks of 32
  config.head_dim = 8;             // 16 columns
  const TemporaryDirectory directory;
  const testing::GgufModel model =
      testing::MakeGgufModel(config, [&](const std::string&) { return "Q4_0"; });
  testing::WriteFile(directory.File("model.gguf"), model.bytes);
  LoadAndCheck(directory.File("model.gguf"), model.values);
}

class BadCheckpointTest : public ::testing::Test {
 protected:
  // Writes the model of `file_config` and loads it as `config`.
  std::string ErrorOf(const ModelConfig& file_config, const ModelConfig& config) {
    EXPECT_TRUE(golden::WriteGoldenModel(directory_.path(), file_config, kSeed, {}).ok());
    return Error(config);
  }
  std::string Error(const ModelConfig& config) {
    const auto checkpoint = OpenCheckpoint(directory_.path());
    if (!checkpoint.ok()) return std::string(checkpoint.status().message());
    const auto shard = parallel::MakeShard(ShardedSizesOf(config), 0, 1);
    EXPECT_TRUE(shard.ok()) << shard.status();
    return std::string(LoadWeights(**checkpoint, config, *shard, device_).status().message());
  }
  TemporaryDirectory directory_;
  FakeDevice device_;
};

TEST_F(BadCheckpointTest, ShapesAndNamesMustFitTheConfig) {
  const ModelConfig config = SmallConfig();
  EXPECT_EQ(ErrorOf(config, config), "");
  ModelConfig other = config;
  other.intermediate_size = 144;
  EXPECT_THAT(ErrorOf(config, other),
              AllOf(HasSubstr("model.safetensors: tensor model.layers.0.mlp.gate_proj.weight"),
                    HasSubstr("[136, 64]; expected [144, 64]")));
  other = config;
  other.num_layers = 3;
  EXPECT_THAT(ErrorOf(config, other),
              HasSubstr("tensor model.layers.2.input_layernorm.weight is missing"));
  EXPECT_THAT(ErrorOf(other, config), HasSubstr("tensor model.layers.2."));
  other = config;
  other.tie_word_embeddings = true;
  EXPECT_THAT(ErrorOf(other, config), HasSubstr("tensor lm_head.weight is missing"));
  EXPECT_EQ(ErrorOf(config, other), "");  // an output matrix beside tied embeddings is ignored
  other = config;
  other.qkv_bias = false;
  EXPECT_THAT(ErrorOf(config, other), HasSubstr("_proj.bias belongs to no qwen2 model"));
}

TEST_F(BadCheckpointTest, IntegersAreNoWeights) {
  const ModelConfig config = SmallConfig();
  ASSERT_EQ(ErrorOf(config, config), "");
  std::string bytes = testing::ReadFile(directory_.File("model.safetensors"));
  const size_t at = bytes.find("\"BF16\"", bytes.find("model.norm.weight"));
  bytes.replace(at, 6, "\"I16\" ");
  testing::WriteFile(directory_.File("model.safetensors"), bytes);
  EXPECT_THAT(Error(config), HasSubstr("tensor model.norm.weight has dtype I16; expected BF16"));
}

TEST_F(BadCheckpointTest, NoRoomIsSaidInBytes) {
  device_.available_bytes = 1000;
  const ModelConfig config = SmallConfig();
  EXPECT_THAT(ErrorOf(config, config),
              AllOf(HasSubstr("no room for rank 0's weights ("), HasSubstr("only 1000 bytes")));
}

TEST_F(BadCheckpointTest, AnErrorOfTheDeviceEndsTheLoading) {
  device_.fail_after_calls = 3;
  const ModelConfig config = SmallConfig();
  EXPECT_THAT(ErrorOf(config, config), HasSubstr("told to fail"));
}

TEST(WeightLoaderTest, ProgressRisesToTheTotal) {
  const TemporaryDirectory directory;
  const ModelConfig config = SmallConfig();
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}).ok());
  const auto checkpoint = OpenCheckpoint(directory.path());
  ASSERT_TRUE(checkpoint.ok());
  LoadProgress last;
  LoadOptions options;
  options.num_threads = 3;
  options.progress = [&](const LoadProgress& progress) {
    EXPECT_GT(progress.bytes_done, last.bytes_done);
    EXPECT_GE(progress.seconds_left, 0);
    last = progress;
  };
  FakeDevice device;
  const auto shard = parallel::MakeShard(ShardedSizesOf(config), 1, 2);
  ASSERT_TRUE(LoadWeights(**checkpoint, config, *shard, device, options).ok());
  EXPECT_GT(last.bytes_total, 0);
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_EQ(last.seconds_left, 0);
}

TEST(WeightLoaderTest, TheModelHashCoversTheRopeScaling) {
  const TemporaryDirectory directory;
  ModelConfig config = SmallConfig();
  ASSERT_TRUE(golden::WriteGoldenModel(directory.path(), config, kSeed, {}).ok());
  const auto checkpoint = OpenCheckpoint(directory.path());
  const std::string hash = *ModelHash(**checkpoint, config);
  config.max_position_embeddings = 64;
  EXPECT_EQ(*ModelHash(**checkpoint, config), hash);
  config.rope.type = RopeConfig::Type::kYarn;
  const std::string yarn = *ModelHash(**checkpoint, config);
  EXPECT_NE(yarn, hash);
  config.rope.mscale = 1;
  EXPECT_NE(*ModelHash(**checkpoint, config), yarn);
}

TEST(WeightLoaderTest, ParametersOfTheSevenBillionModel) {
  ModelConfig config;
  config.vocab_size = 152064;
  config.hidden_size = 3584;
  config.intermediate_size = 18944;
  config.num_layers = 28;
  config.num_heads = 28;
  config.num_kv_heads = 4;
  config.head_dim = 128;
  config.qkv_bias = true;
  EXPECT_EQ(NumParameters(config), 7615616512);  // as its model card counts
}

}  // namespace
}  // namespace quartet::model
