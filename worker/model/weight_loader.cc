#include "worker/model/weight_loader.h"

#include <chrono>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/model/sha256.h"
#include "worker/model/tensor_file.h"
#include "worker/model/tensor_list.h"
#include "worker/model/weight_packer.h"

namespace quartet::model {
namespace {

using kernels::DevicePtr;
using kernels::PackedMatrix;
using parallel::Shard;

constexpr int64_t kAlignment = 4096;

// Consecutive elements of a vector tensor.
struct VectorSource {
  std::string tensor;
  int64_t first = 0;
  int64_t count = 0;
};

// A vector in device memory: its sources one after the other.
struct VectorJob {
  DevicePtr<const float>* to = nullptr;
  std::vector<VectorSource> sources;
  int64_t offset = 0;  // in the memory, bytes
  int64_t count = 0;
};

struct MatrixJob {
  PackedMatrix* to = nullptr;
  std::vector<RowSource> sources;
  int64_t offset = 0;
};

// Where everything that a rank holds comes from and goes to, decided before memory is taken.
class LoadPlan {
 public:
  LoadPlan(const ModelConfig& config, const Shard& shard, const device::Device& device,
           ModelWeights* weights)
      : config_(config), shard_(shard), device_(device) {
    weights->vocab_first_row = shard.first_vocab_row;
    weights->vocab_rows = shard.vocab_rows;
    weights->layers.resize(config.num_layers);
    AddVocabulary("model.embed_tokens.weight", &weights->embed_tokens);
    for (int layer = 0; layer < config.num_layers; ++layer) {
      AddLayer(absl::StrCat("model.layers.", layer, "."), &weights->layers[layer]);
    }
    AddVector(&weights->final_norm, {{"model.norm.weight", 0, config.hidden_size}});
    if (!config.tie_word_embeddings) AddVocabulary("lm_head.weight", &weights->lm_head);
  }

  int64_t bytes() const { return bytes_; }
  const std::vector<VectorJob>& vectors() const { return vectors_; }
  const std::vector<MatrixJob>& matrices() const { return matrices_; }

 private:
  void AddLayer(const std::string& prefix, LayerWeights* layer) {
    const int64_t hidden = config_.hidden_size;
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    const int64_t head_dim = shard_.head_dim;
    const int64_t q_rows = shard_.num_heads * head_dim, q_first = shard_.first_head * head_dim;
    const int64_t kv_rows = shard_.num_kv_heads * head_dim;
    const int64_t kv_first = shard_.first_kv_head * head_dim;
    const int64_t ffn_rows = shard_.intermediate_size, ffn_first = shard_.first_intermediate;

    AddVector(&layer->input_layernorm, {{prefix + "input_layernorm.weight", 0, hidden}});
    AddMatrix(&layer->qkv_proj, shard_.qkv_rows(), hidden,
              {{attention + "q_proj.weight", q_first, q_rows, 0},
               {attention + "k_proj.weight", kv_first, kv_rows, 0},
               {attention + "v_proj.weight", kv_first, kv_rows, 0}});
    if (config_.qkv_bias) {
      AddVector(&layer->qkv_bias, {{attention + "q_proj.bias", q_first, q_rows},
                                   {attention + "k_proj.bias", kv_first, kv_rows},
                                   {attention + "v_proj.bias", kv_first, kv_rows}});
    }
    AddMatrix(&layer->o_proj, hidden, q_rows, {{attention + "o_proj.weight", 0, hidden, q_first}});
    AddVector(&layer->post_attention_layernorm,
              {{prefix + "post_attention_layernorm.weight", 0, hidden}});
    AddMatrix(&layer->gate_up_proj, 2 * ffn_rows, hidden,
              {{mlp + "gate_proj.weight", ffn_first, ffn_rows, 0},
               {mlp + "up_proj.weight", ffn_first, ffn_rows, 0}});
    AddMatrix(&layer->down_proj, hidden, ffn_rows,
              {{mlp + "down_proj.weight", 0, hidden, ffn_first}});
  }

  void AddVocabulary(const std::string& tensor, PackedMatrix* to) {
    AddMatrix(to, shard_.vocab_rows, config_.hidden_size,
              {{tensor, shard_.first_vocab_row, shard_.vocab_rows_in_file, 0}});
  }

  void AddMatrix(PackedMatrix* to, int64_t rows, int64_t cols, std::vector<RowSource> sources) {
    to->rows = rows;
    to->cols = cols;
    matrices_.push_back({to, std::move(sources), Take(device_.PackedBytes(rows, cols))});
  }

  void AddVector(DevicePtr<const float>* to, std::vector<VectorSource> sources) {
    int64_t count = 0;
    for (const VectorSource& source : sources) count += source.count;
    vectors_.push_back({to, std::move(sources), Take(count * int64_t{sizeof(float)}), count});
  }

  // The offset of a new range of the memory.
  int64_t Take(int64_t bytes) {
    const int64_t offset = bytes_;
    bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }

  const ModelConfig& config_;
  const Shard& shard_;
  const device::Device& device_;
  std::vector<VectorJob> vectors_;
  std::vector<MatrixJob> matrices_;
  int64_t bytes_ = 0;
};

absl::Status LoadVectors(const Checkpoint& checkpoint, const std::vector<VectorJob>& jobs,
                         device::Device& device, DevicePtr<uint8_t> memory) {
  const std::unique_ptr<device::Queue> queue = device.NewQueue();
  std::vector<float> values;
  for (const VectorJob& job : jobs) {
    values.resize(job.count);
    float* to = values.data();
    for (const VectorSource& source : job.sources) {
      RETURN_IF_ERROR(checkpoint.ReadVector(source.tensor, source.first, source.count, to));
      to += source.count;
    }
    const DevicePtr<float> place = (memory + job.offset).As<float>();
    RETURN_IF_ERROR(
        queue->Upload(place.As<void>(), values.data(), job.count * int64_t{sizeof(float)}));
    // The next vector overwrites the host's copy.
    RETURN_IF_ERROR(queue->Wait());
    *job.to = place;
  }
  return absl::OkStatus();
}

// Whether the files don't fit into half of the memory that the weights will leave. Then their
// cached pages are dropped while reading; otherwise they stay, so that a rank that is started again
// reads from memory.
bool MemoryIsTight(int64_t file_bytes, int64_t weight_bytes) {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  while (meminfo >> key >> kilobytes) {
    if (key == "MemAvailable:") return file_bytes > (kilobytes * 1024 - weight_bytes) / 2;
    std::getline(meminfo, key);
  }
  return true;
}

void LogLoaded(const ModelWeights& weights, const Shard& shard, double seconds) {
  common::LogInfo(
      "weights loaded",
      {{"rank", shard.rank},
       {"world_size", shard.world_size},
       {"weight_bytes", weights.weight_bytes},
       {"num_parameters", weights.num_parameters},
       {"seconds", absl::StrFormat("%.2f", seconds)},
       {"gb_per_second", absl::StrFormat("%.2f", static_cast<double>(weights.weight_bytes) / 1e9 /
                                                     std::max(seconds, 1e-9))},
       {"model_hash", weights.model_hash}});
}

}  // namespace

parallel::ShardedSizes ShardedSizesOf(const ModelConfig& config) {
  return {config.num_heads, config.num_kv_heads, config.head_dim, config.intermediate_size,
          config.vocab_size};
}

int64_t NumParameters(const ModelConfig& config) {
  int64_t count = 0;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) count += NumElements(tensor.shape);
  return count;
}

absl::StatusOr<std::string> ModelHash(const Checkpoint& checkpoint, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string content, checkpoint.ContentHash());
  return ModelHash(content, config);
}

std::string ModelHash(absl::string_view content_hash, const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  Sha256 hash;
  hash.AddText(content_hash);
  hash.AddText(ArchitectureName(config.architecture));
  for (const int64_t value :
       {config.vocab_size, config.hidden_size, config.intermediate_size, int64_t{config.num_layers},
        int64_t{config.num_heads}, int64_t{config.num_kv_heads}, int64_t{config.head_dim},
        int64_t{config.tie_word_embeddings}, int64_t{config.qkv_bias},
        rope.original_max_position_embeddings}) {
    hash.AddInt(value);
  }
  hash.AddText(RopeTypeName(rope.type));
  // %a writes every bit of a double.
  hash.AddText(absl::StrFormat("%a %a %a %a %a %a %a", config.rms_norm_eps, rope.theta, rope.factor,
                               rope.beta_fast, rope.beta_slow, rope.low_freq_factor,
                               rope.high_freq_factor));
  for (const auto& optional : {rope.attention_factor, rope.mscale, rope.mscale_all_dim}) {
    hash.AddText(optional ? absl::StrFormat("%a", *optional) : "none");
  }
  return hash.Hex();
}

absl::StatusOr<ModelWeights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                                         const Shard& shard, device::Device& device,
                                         const LoadOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckTensors(checkpoint, config));
  ModelWeights weights;
  weights.num_parameters = NumParameters(config);
  ASSIGN_OR_RETURN(weights.model_hash, ModelHash(checkpoint, config));

  const LoadPlan plan(config, shard, device, &weights);
  const bool tight = MemoryIsTight(checkpoint.file_bytes(), plan.bytes());
  auto memory = device.Allocate(plan.bytes());
  if (!memory.ok()) {
    return absl::Status(memory.status().code(),
                        absl::StrCat("no room for rank ", shard.rank, "'s weights (", plan.bytes(),
                                     " bytes): ", memory.status().message()));
  }
  weights.memory = *std::move(memory);
  weights.weight_bytes = plan.bytes();
  const auto base = weights.memory->data().As<uint8_t>();
  RETURN_IF_ERROR(LoadVectors(checkpoint, plan.vectors(), device, base));

  std::vector<PackJob> jobs;
  for (const MatrixJob& matrix : plan.matrices()) {
    matrix.to->data = (base + matrix.offset).As<void>();
    jobs.push_back({*matrix.to, matrix.sources});
  }
  if (config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
  RETURN_IF_ERROR(WeightPacker(checkpoint, device, shard.rank, options, tight).Pack(jobs));
  if (tight) checkpoint.DropPageCache();
  LogLoaded(weights, shard,
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return weights;
}

}  // namespace quartet::model
