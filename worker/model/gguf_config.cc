#include "worker/model/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/config_limits.h"
#include "worker/model/gguf_quantization.h"

namespace quartet::model {
namespace {

using Type = RopeConfig::Type;

absl::StatusOr<Architecture> ReadArchitecture(const GgufFile& gguf) {
  ASSIGN_OR_RETURN(const auto name, gguf.Text("general.architecture"));
  for (const Architecture known : {Architecture::kQwen2, Architecture::kLlama}) {
    if (name && *name == ArchitectureName(known)) return known;
  }
  return gguf.Error("general.architecture", "\"qwen2\" or \"llama\"");
}

absl::Status RefuseUnknownBehaviour(const GgufFile& gguf, const std::string& prefix,
                                    const ModelConfig& config) {
  for (const char* key : {"expert_count", "attention.sliding_window"}) {
    ASSIGN_OR_RETURN(const auto value, gguf.Int(prefix + key, 0, INT64_MAX));
    if (value.value_or(0) != 0) return gguf.Error(prefix + key, "none or 0");
  }
  ASSIGN_OR_RETURN(const auto split, gguf.Int("split.count", 0, INT64_MAX));
  if (split.value_or(0) > 1) {
    return gguf.Error("split.count", "one file: join them with llama-gguf-split --merge");
  }
  for (const char* key : {"rope.dimension_count", "attention.value_length"}) {
    ASSIGN_OR_RETURN(const auto value, gguf.Int(prefix + key, 1, kMaxHiddenSize));
    if (value.value_or(config.head_dim) != config.head_dim) {
      return gguf.Error(prefix + key, absl::StrCat(config.head_dim, ", the size of a head"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const GgufFile& gguf, const std::string& prefix, ModelConfig* config) {
  const auto required = [&](const char* key, int64_t max) {
    return gguf.RequiredInt(prefix + key, 1, max);
  };
  ASSIGN_OR_RETURN(config->hidden_size, required("embedding_length", kMaxHiddenSize));
  ASSIGN_OR_RETURN(config->intermediate_size,
                   required("feed_forward_length", kMaxIntermediateSize));
  ASSIGN_OR_RETURN(config->max_position_embeddings, required("context_length", kMaxPositions));
  ASSIGN_OR_RETURN(const int64_t layers, required("block_count", kMaxLayers));
  ASSIGN_OR_RETURN(const int64_t heads, required("attention.head_count", kMaxHeads));
  ASSIGN_OR_RETURN(const auto kv_heads, gguf.Int(prefix + "attention.head_count_kv", 1, kMaxHeads));
  ASSIGN_OR_RETURN(const auto head_dim, gguf.Int(prefix + "attention.key_length", 1, kMaxHeadDim));
  config->num_layers = static_cast<int>(layers);
  config->num_heads = static_cast<int>(heads);
  config->num_kv_heads = static_cast<int>(kv_heads.value_or(heads));
  if (!head_dim &&
      (config->hidden_size % heads != 0 || config->hidden_size / heads > kMaxHeadDim)) {
    return gguf.Error(prefix + "attention.key_length",
                      absl::StrCat("a size, as ", heads, " heads don't divide embedding_length ",
                                   config->hidden_size));
  }
  config->head_dim = static_cast<int>(head_dim.value_or(config->hidden_size / heads));
  ASSIGN_OR_RETURN(const auto epsilon,
                   gguf.Number(prefix + "attention.layer_norm_rms_epsilon", 0, 1));
  if (!epsilon) return gguf.Error(prefix + "attention.layer_norm_rms_epsilon", "a number above 0");
  config->rms_norm_eps = static_cast<float>(*epsilon);

  const GgufTensor* embedding = gguf.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] > kMaxVocabSize) {
    return absl::InvalidArgumentError(
        absl::StrCat(gguf.file().path(), ": tensor token_embd.weight is ",
                     embedding ? "no matrix of at most 2^24 rows" : "missing",
                     "; its rows are the vocabulary's size"));
  }
  config->vocab_size = embedding->shape[0];
  config->tie_word_embeddings = gguf.FindTensor("output.weight") == nullptr;
  config->qkv_bias = gguf.FindTensor("blk.0.attn_q.bias") != nullptr;
  return absl::OkStatus();
}

// Divisors of the frequencies as llama.cpp's converter writes them for Llama 3. The reference
// implementation: transformers, modeling_rope_utils.py, _compute_llama3_parameters.
std::vector<double> Llama3Divisors(const RopeConfig& rope, int head_dim) {
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  const double low_wavelength = original / rope.low_freq_factor;
  const double high_wavelength = original / rope.high_freq_factor;
  std::vector<double> divisors;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * i / head_dim);
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < high_wavelength) {
      divisors.push_back(1);
    } else if (wavelength > low_wavelength) {
      divisors.push_back(rope.factor);
    } else {
      const double smooth = (original / wavelength - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
      divisors.push_back(1 / ((1 - smooth) / rope.factor + smooth));
    }
  }
  return divisors;
}

absl::Status ReadLlama3(const GgufFile& gguf, const GgufTensor& tensor, ModelConfig* config) {
  const GgmlType* type = FindGgmlType(tensor.type);
  const int64_t count = config->head_dim / 2;
  std::vector<float> divisors(count);
  if (tensor.shape.size() == 1 && tensor.shape[0] == count) {
    DequantizeRange(*type, gguf.file().data() + tensor.begin, 0, count, divisors.data());
    if (std::all_of(divisors.begin(), divisors.end(), [](float d) { return d == 1; })) {
      return absl::OkStatus();
    }
    RopeConfig rope = config->rope;
    rope.type = Type::kLlama3;
    // The last frequency is always divided by the whole factor.
    rope.factor = divisors.back();
    for (int64_t original = 1024; original <= (1 << 20) && rope.factor >= 1; original *= 2) {
      rope.original_max_position_embeddings = original;
      const std::vector<double> expected = Llama3Divisors(rope, config->head_dim);
      const bool same = std::equal(expected.begin(), expected.end(), divisors.begin(),
                                   [](double a, double b) { return std::fabs(a - b) <= 1e-4 * a; });
      if (same) {
        config->rope = rope;
        return absl::OkStatus();
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      gguf.file().path(), ": tensor rope_freqs.weight holds factors that are not Llama 3's (",
      "low_freq_factor 1, high_freq_factor 4), the only ones that are supported"));
}

absl::Status ReadRope(const GgufFile& gguf, const std::string& prefix, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  ASSIGN_OR_RETURN(const auto theta, gguf.Number(prefix + "rope.freq_base", 0, 1e15));
  rope.theta = theta.value_or(10000);
  ASSIGN_OR_RETURN(const auto original,
                   gguf.Int(prefix + "rope.scaling.original_context_length", 1, kMaxPositions));
  rope.original_max_position_embeddings = original.value_or(config->max_position_embeddings);

  ASSIGN_OR_RETURN(auto type, gguf.Text(prefix + "rope.scaling.type"));
  ASSIGN_OR_RETURN(auto factor,
                   gguf.Number(prefix + "rope.scaling.factor", 0, kMaxRopeFactor, true));
  // The name of older files.
  ASSIGN_OR_RETURN(const auto old_factor,
                   gguf.Number(prefix + "rope.scale_linear", 0, kMaxRopeFactor, true));
  if (!type && old_factor) type = "linear";
  if (!factor) factor = old_factor;
  const std::string factor_key = prefix + "rope.scaling.factor";
  if (type && *type != "none" && *type != "linear" && *type != "yarn") {
    return gguf.Error(prefix + "rope.scaling.type", "\"none\", \"linear\" or \"yarn\"");
  }
  // A factor of 0 means none, as in llama.cpp.
  if (type && *type != "none" && factor.value_or(0) != 0 && *factor != 1) {
    if (*factor < 1) return gguf.Error(factor_key, "a number from 1");
    rope.type = *type == "yarn" ? Type::kYarn : Type::kLinear;
    rope.factor = *factor;
  }
  if (rope.type == Type::kYarn) {
    ASSIGN_OR_RETURN(const auto attention,
                     gguf.Number(prefix + "rope.scaling.attn_factor", 0, 1e6));
    ASSIGN_OR_RETURN(const auto fast, gguf.Number(prefix + "rope.scaling.yarn_beta_fast", 0, 1e6));
    ASSIGN_OR_RETURN(const auto slow, gguf.Number(prefix + "rope.scaling.yarn_beta_slow", 0, 1e6));
    // ggml multiplies its factor with YaRN's own; HF's replaces it.
    if (attention.value_or(1) != 1) {
      rope.attention_factor = *attention * (0.1 * std::log(rope.factor) + 1);
    }
    rope.beta_fast = fast.value_or(rope.beta_fast);
    rope.beta_slow = slow.value_or(rope.beta_slow);
  }
  const GgufTensor* divisors = gguf.FindTensor("rope_freqs.weight");
  if (divisors == nullptr) return absl::OkStatus();
  if (rope.type != Type::kNone) {
    return gguf.Error(prefix + "rope.scaling.type", "none beside the tensor rope_freqs.weight");
  }
  return ReadLlama3(gguf, *divisors, config);
}

absl::Status ReadGeneration(const GgufFile& gguf, LoadedConfig* config) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    ASSIGN_OR_RETURN(const auto id, gguf.Int(key, 0, config->model.vocab_size - 1));
    std::vector<int32_t>& ids = config->model.eos_token_ids;
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) {
      ids.push_back(static_cast<int32_t>(*id));
    }
  }
  GenerationConfig& generation = config->generation;
  ASSIGN_OR_RETURN(generation.temperature, gguf.Number("general.sampling.temp", 0, 100, true));
  ASSIGN_OR_RETURN(generation.top_p, gguf.Number("general.sampling.top_p", 0, 1));
  ASSIGN_OR_RETURN(generation.min_p, gguf.Number("general.sampling.min_p", 0, 1, true));
  ASSIGN_OR_RETURN(generation.repetition_penalty,
                   gguf.Number("general.sampling.penalty_repeat", 0, 100));
  ASSIGN_OR_RETURN(const auto top_k, gguf.Int("general.sampling.top_k", -1, INT32_MAX));
  if (top_k) generation.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadedConfig> ConfigFromGguf(const GgufFile& gguf) {
  LoadedConfig config;
  ModelConfig& model = config.model;
  ASSIGN_OR_RETURN(model.architecture, ReadArchitecture(gguf));
  const std::string prefix = absl::StrCat(ArchitectureName(model.architecture), ".");
  RETURN_IF_ERROR(ReadSizes(gguf, prefix, &model));
  RETURN_IF_ERROR(RefuseUnknownBehaviour(gguf, prefix, model));
  RETURN_IF_ERROR(ReadRope(gguf, prefix, &model));
  RETURN_IF_ERROR(ReadGeneration(gguf, &config));
  // Not general.name: converters fill it with titles that nobody wants to type into a request.
  model.name = std::filesystem::path(gguf.file().path()).stem().string();
  return config;
}

}  // namespace quartet::model
