// A model's sizes from the metadata of a GGUF file.
#pragma once

#include "absl/status/statusor.h"
#include "worker/model/gguf.h"
#include "worker/model/model_config.h"

namespace quartet::model {

// Returns INVALID_ARGUMENT for an architecture other than qwen2 and llama, and for metadata that
// asks for something that the forward pass doesn't do. Llama 3's scaling, which GGUF keeps only as
// a tensor of factors (rope_freqs.weight), is recognised by recomputing them; others are refused.
absl::StatusOr<LoadedConfig> ConfigFromGguf(const GgufFile& gguf);

}  // namespace quartet::model
