#include "worker/model/hf_config.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/config_limits.h"
#include "worker/model/json_document.h"
#include "worker/model/mapped_file.h"
#include "worker/model/rope_scaling.h"

namespace quartet::model {
namespace {

using nlohmann::json;

constexpr int64_t kMaxConfigBytes = 4 << 20;

absl::StatusOr<Architecture> ReadArchitecture(const JsonFields& fields) {
  constexpr char kExpected[] = "[\"Qwen2ForCausalLM\"] or [\"LlamaForCausalLM\"]";
  const json* list = fields.Find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    return fields.Error("architectures", kExpected);
  }
  if ((*list)[0] == "Qwen2ForCausalLM") return Architecture::kQwen2;
  if ((*list)[0] == "LlamaForCausalLM") return Architecture::kLlama;
  return fields.Error("architectures", kExpected);
}

// Fields that would change the forward pass in ways that it doesn't know.
absl::Status RefuseUnknownBehaviour(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const auto activation, fields.Text("hidden_act"));
  if (activation.value_or("silu") != "silu") return fields.Error("hidden_act", "\"silu\"");
  ASSIGN_OR_RETURN(const auto sliding, fields.Bool("use_sliding_window"));
  if (sliding.value_or(false)) {
    return fields.Error("use_sliding_window",
                        "false: attention with a sliding window is not "
                        "supported");
  }
  ASSIGN_OR_RETURN(const auto mlp_bias, fields.Bool("mlp_bias"));
  if (mlp_bias.value_or(false)) return fields.Error("mlp_bias", "false");
  ASSIGN_OR_RETURN(const auto partial, fields.Number("partial_rotary_factor", 0, 1));
  if (partial.value_or(1) != 1) return fields.Error("partial_rotary_factor", "1");
  if (fields.Find("quantization_config") != nullptr) {
    return fields.Error("quantization_config",
                        "none: give the model in BF16, F16 or F32, or as a GGUF");
  }
  if (const json* layers = fields.Find("layer_types")) {
    const bool full = layers->is_array() &&
                      std::all_of(layers->begin(), layers->end(),
                                  [](const json& layer) { return layer == "full_attention"; });
    if (!full) return fields.Error("layer_types", "a list of \"full_attention\" alone");
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonFields& fields, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->vocab_size, fields.RequiredInt("vocab_size", 1, kMaxVocabSize));
  ASSIGN_OR_RETURN(config->hidden_size, fields.RequiredInt("hidden_size", 1, kMaxHiddenSize));
  ASSIGN_OR_RETURN(config->intermediate_size,
                   fields.RequiredInt("intermediate_size", 1, kMaxIntermediateSize));
  ASSIGN_OR_RETURN(const int64_t layers, fields.RequiredInt("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(const int64_t heads, fields.RequiredInt("num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(const auto kv_heads, fields.Int("num_key_value_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(const auto head_dim, fields.Int("head_dim", 1, kMaxHeadDim));
  config->num_layers = static_cast<int>(layers);
  config->num_heads = static_cast<int>(heads);
  config->num_kv_heads = static_cast<int>(kv_heads.value_or(heads));
  if (!head_dim &&
      (config->hidden_size % heads != 0 || config->hidden_size / heads > kMaxHeadDim)) {
    return fields.Error("head_dim",
                        absl::StrCat("a size, as ", heads, " heads don't divide hidden_size ",
                                     config->hidden_size));
  }
  config->head_dim = static_cast<int>(head_dim.value_or(config->hidden_size / heads));
  // The defaults of transformers' LlamaConfig and Qwen2Config.
  ASSIGN_OR_RETURN(const auto positions, fields.Int("max_position_embeddings", 1, kMaxPositions));
  config->max_position_embeddings =
      positions.value_or(config->architecture == Architecture::kQwen2 ? 32768 : 2048);
  ASSIGN_OR_RETURN(const auto epsilon, fields.Number("rms_norm_eps", 0, 1));
  config->rms_norm_eps = static_cast<float>(epsilon.value_or(1e-6));
  return absl::OkStatus();
}

absl::Status ReadRope(const JsonFields& fields, ModelConfig* config) {
  ASSIGN_OR_RETURN(const auto theta, fields.Number("rope_theta", 0, 1e15));
  config->rope.theta = theta.value_or(10000);
  const json* parameters = fields.Find("rope_parameters");
  const json* scaling = fields.Find("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling) {
    return fields.Error("rope_parameters",
                        "nothing beside rope_scaling, of which it is the new "
                        "name");
  }
  const json none;
  const bool is_new = parameters != nullptr;
  const json& object = is_new ? *parameters : scaling != nullptr ? *scaling : none;
  ASSIGN_OR_RETURN(
      config->rope,
      RopeFromJson(object,
                   absl::StrCat(fields.source(), ": ", is_new ? "rope_parameters" : "rope_scaling"),
                   *config));
  return absl::OkStatus();
}

void JoinEndIds(const std::vector<int64_t>& ids, std::vector<int32_t>* joined) {
  for (const int64_t id : ids) {
    if (std::find(joined->begin(), joined->end(), id) == joined->end()) {
      joined->push_back(static_cast<int32_t>(id));
    }
  }
}

}  // namespace

absl::StatusOr<ModelConfig> ParseHfConfig(absl::string_view json_text, absl::string_view source) {
  ASSIGN_OR_RETURN(const json object, ParseJson(json_text, source));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is ", JsonExcerpt(object), "; expected an object"));
  }
  const JsonFields fields(object, source);
  ModelConfig config;
  ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(fields));
  RETURN_IF_ERROR(RefuseUnknownBehaviour(fields));
  RETURN_IF_ERROR(ReadSizes(fields, &config));
  RETURN_IF_ERROR(ReadRope(fields, &config));
  ASSIGN_OR_RETURN(const auto tied, fields.Bool("tie_word_embeddings"));
  config.tie_word_embeddings = tied.value_or(false);
  ASSIGN_OR_RETURN(const auto attention_bias, fields.Bool("attention_bias"));
  config.qkv_bias =
      config.architecture == Architecture::kQwen2 ? true : attention_bias.value_or(false);
  ASSIGN_OR_RETURN(const auto end_ids, fields.Ints("eos_token_id", 0, config.vocab_size - 1));
  JoinEndIds(end_ids, &config.eos_token_ids);
  return config;
}

absl::Status ParseGenerationConfig(absl::string_view json_text, absl::string_view source,
                                   LoadedConfig* config) {
  ASSIGN_OR_RETURN(const json object, ParseJson(json_text, source));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is ", JsonExcerpt(object), "; expected an object"));
  }
  const JsonFields fields(object, source);
  GenerationConfig& generation = config->generation;
  ASSIGN_OR_RETURN(generation.temperature, fields.Number("temperature", 0, 100, true));
  ASSIGN_OR_RETURN(generation.top_p, fields.Number("top_p", 0, 1));
  ASSIGN_OR_RETURN(generation.min_p, fields.Number("min_p", 0, 1, true));
  ASSIGN_OR_RETURN(generation.repetition_penalty, fields.Number("repetition_penalty", 0, 100));
  ASSIGN_OR_RETURN(const auto top_k, fields.Int("top_k", -1, INT32_MAX));
  // -1 and 0 both mean all.
  if (top_k) generation.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  ASSIGN_OR_RETURN(const auto end_ids,
                   fields.Ints("eos_token_id", 0, config->model.vocab_size - 1));
  JoinEndIds(end_ids, &config->model.eos_token_ids);
  return absl::OkStatus();
}

absl::StatusOr<LoadedConfig> ReadHfConfig(const std::string& directory) {
  const std::string path = directory + "/config.json";
  const std::string generation_path = directory + "/generation_config.json";
  LoadedConfig config;
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(config.model, ParseHfConfig(text, path));
  const auto generation_text = ReadSmallFile(generation_path, kMaxConfigBytes);
  if (generation_text.ok()) {
    RETURN_IF_ERROR(ParseGenerationConfig(*generation_text, generation_path, &config));
  } else if (!absl::IsNotFound(generation_text.status())) {
    return generation_text.status();
  }
  std::error_code ignored;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(directory, ignored);
  config.model.name = canonical.filename().string();
  return config;
}

}  // namespace quartet::model
