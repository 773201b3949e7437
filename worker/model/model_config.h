// Sizes and constants of a model, read from config.json or GGUF metadata and never from code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::model {

enum class Architecture { kQwen2, kLlama };

// How positions become angles. Formulas: transformers, modeling_rope_utils.py.
struct RopeConfig {
  enum class Type { kNone, kLinear, kDynamic, kYarn, kLlama3 };
  Type type = Type::kNone;
  double theta = 10000;
  double factor = 1;
  int64_t original_max_position_embeddings = 0;
  // yarn
  std::optional<double> attention_factor;
  double beta_fast = 32;
  double beta_slow = 1;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  // llama3
  double low_freq_factor = 1;
  double high_freq_factor = 4;
};

struct ModelConfig {
  Architecture architecture = Architecture::kQwen2;
  int64_t vocab_size = 0;  // rows of the embedding and of the logits
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  float rms_norm_eps = 1e-6f;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  int64_t max_position_embeddings = 0;
  RopeConfig rope;
  std::vector<int32_t> eos_token_ids;  // config.json's and generation_config.json's, joined
  std::string name;                    // what the files call the model
};

// Sampling defaults from generation_config.json; what is not there is unset.
struct GenerationConfig {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

struct LoadedConfig {
  ModelConfig model;
  GenerationConfig generation;
};

// Reads config.json and generation_config.json (which may be absent) of a directory, or the
// metadata of a .gguf file. Returns NOT_FOUND or INVALID_ARGUMENT with file, field, the value found
// and what was expected. The result has passed ValidateConfig.
absl::StatusOr<LoadedConfig> ReadModelConfig(const std::string& path);

// Parses config.json's rope_scaling object, in the old ("type") or the new ("rope_type") spelling,
// as the flag --rope_scaling gives it; "null" or type "default" means none. What the text doesn't
// say comes from `config`: rope_theta, and original_max_position_embeddings from
// max_position_embeddings. Returns INVALID_ARGUMENT naming the field or an unknown type.
absl::StatusOr<RopeConfig> ParseRopeScaling(absl::string_view json_text, const ModelConfig& config);

// Positions that the model's own files allow: max_position_embeddings, stretched by `rope`.
int64_t MaxModelLen(const ModelConfig& config);

// Positions to serve for the flag --max_model_len: `max_model_len`, or MaxModelLen if it is 0.
// Returns INVALID_ARGUMENT if it is negative or above MaxModelLen; only --rope_scaling can stretch.
absl::StatusOr<int64_t> ServedModelLen(const ModelConfig& config, int64_t max_model_len);

// Returns INVALID_ARGUMENT naming the field if a size is not positive, too large to compute with,
// or doesn't fit the others.
absl::Status ValidateConfig(const ModelConfig& config);

// "qwen2", "llama".
absl::string_view ArchitectureName(Architecture architecture);
// "none", "linear", "dynamic", "yarn", "llama3".
absl::string_view RopeTypeName(RopeConfig::Type type);

}  // namespace quartet::model
