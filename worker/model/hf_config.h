// config.json and generation_config.json of Hugging Face model directories.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/model_config.h"

namespace quartet::model {

// Parses config.json's text; `source` names it in messages. Returns INVALID_ARGUMENT for an
// architecture other than Qwen2ForCausalLM and LlamaForCausalLM, and for every field that asks for
// something that the forward pass doesn't do.
absl::StatusOr<ModelConfig> ParseHfConfig(absl::string_view json_text, absl::string_view source);

// Parses generation_config.json's text and joins its end ids to the config's.
absl::Status ParseGenerationConfig(absl::string_view json_text, absl::string_view source,
                                   LoadedConfig* config);

// Reads both from a directory. generation_config.json may be absent.
absl::StatusOr<LoadedConfig> ReadHfConfig(const std::string& directory);

}  // namespace quartet::model
