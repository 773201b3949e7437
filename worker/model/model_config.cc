#include "worker/model/model_config.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/config_limits.h"
#include "worker/model/gguf.h"
#include "worker/model/gguf_config.h"
#include "worker/model/hf_config.h"

namespace quartet::model {
namespace {

absl::Status CheckSize(absl::string_view field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; expected 1 to ", max));
}

}  // namespace

absl::string_view ArchitectureName(Architecture architecture) {
  return architecture == Architecture::kQwen2 ? "qwen2" : "llama";
}

absl::string_view RopeTypeName(RopeConfig::Type type) {
  switch (type) {
    case RopeConfig::Type::kNone:
      return "none";
    case RopeConfig::Type::kLinear:
      return "linear";
    case RopeConfig::Type::kDynamic:
      return "dynamic";
    case RopeConfig::Type::kYarn:
      return "yarn";
    case RopeConfig::Type::kLlama3:
      return "llama3";
  }
  return "";
}

int64_t MaxModelLen(const ModelConfig& config) {
  switch (config.rope.type) {
    case RopeConfig::Type::kNone:
    case RopeConfig::Type::kLlama3:  // max_position_embeddings counts the stretching already
      return config.max_position_embeddings;
    default:
      break;
  }
  const double stretched =
      config.rope.factor * static_cast<double>(config.rope.original_max_position_embeddings);
  return std::max(config.max_position_embeddings,
                  static_cast<int64_t>(std::min<double>(stretched, kMaxPositions)));
}

absl::StatusOr<int64_t> ServedModelLen(const ModelConfig& config, int64_t max_model_len) {
  const int64_t limit = MaxModelLen(config);
  if (max_model_len == 0) return limit;
  if (max_model_len >= 1 && max_model_len <= limit) return max_model_len;
  return absl::InvalidArgumentError(
      absl::StrCat("max_model_len is ", max_model_len, "; this model allows 1 to ", limit,
                   " positions. To stretch it give --rope_scaling, for example ",
                   "'{\"rope_type\": \"yarn\", \"factor\": 4}'"));
}

absl::Status ValidateConfig(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckSize("vocab_size", config.vocab_size, kMaxVocabSize));
  RETURN_IF_ERROR(CheckSize("hidden_size", config.hidden_size, kMaxHiddenSize));
  RETURN_IF_ERROR(CheckSize("intermediate_size", config.intermediate_size, kMaxIntermediateSize));
  RETURN_IF_ERROR(CheckSize("num_layers", config.num_layers, kMaxLayers));
  RETURN_IF_ERROR(CheckSize("num_heads", config.num_heads, kMaxHeads));
  RETURN_IF_ERROR(CheckSize("num_kv_heads", config.num_kv_heads, kMaxHeads));
  RETURN_IF_ERROR(CheckSize("head_dim", config.head_dim, kMaxHeadDim));
  RETURN_IF_ERROR(
      CheckSize("max_position_embeddings", config.max_position_embeddings, kMaxPositions));
  if (config.num_heads % config.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_key_value_heads is ", config.num_kv_heads,
                                                   "; expected a divisor of the ", config.num_heads,
                                                   " query heads"));
  }
  // Rotation works on pairs, products on pairs of columns.
  if (config.head_dim % 2 != 0 || config.hidden_size % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim is ", config.head_dim,
                                                   " and hidden_size ", config.hidden_size,
                                                   "; expected even sizes"));
  }
  if (!std::isfinite(config.rms_norm_eps) || config.rms_norm_eps <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rms_norm_eps is ", config.rms_norm_eps, "; expected a number above 0"));
  }
  if (!std::isfinite(config.rope.theta) || config.rope.theta <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_theta is ", config.rope.theta, "; expected a number above 0"));
  }
  for (const int32_t id : config.eos_token_ids) {
    if (id < 0 || id >= config.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_token_id is ", id, "; expected 0 to ", config.vocab_size - 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedConfig> ReadModelConfig(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(
        absl::StrCat(path, ": no such model; give a directory with config.json or a .gguf file"));
  }
  LoadedConfig config;
  if (S_ISDIR(info.st_mode)) {
    ASSIGN_OR_RETURN(config, ReadHfConfig(path));
  } else {
    ASSIGN_OR_RETURN(const GgufFile gguf, GgufFile::Open(path));
    ASSIGN_OR_RETURN(config, ConfigFromGguf(gguf));
  }
  const absl::Status valid = ValidateConfig(config.model);
  if (!valid.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", valid.message()));
  }
  return config;
}

}  // namespace quartet::model
