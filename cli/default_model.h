// Where the model lies that deploy/local/fetch_models gets.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace quartet::cli {

// ${QUARTET_CACHE:-~/.cache/quartet}/models/SmolLM2-135M-Instruct.Q4_1.gguf, whether or not it
// exists.
std::string DefaultModelPath();

// `given` if it exists, or the default model if `given` is empty. NOT_FOUND says how to get one.
absl::StatusOr<std::string> ResolveModel(const std::string& given);

}  // namespace quartet::cli
