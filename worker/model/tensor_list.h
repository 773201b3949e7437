// The tensors that a model must have, and whether a checkpoint has them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/model/checkpoint.h"
#include "worker/model/model_config.h"

namespace quartet::model {

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// Of the whole model, under HF's names.
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

// Returns INVALID_ARGUMENT naming file and tensor if one is missing, has another shape or a dtype
// that can't be read, or if the checkpoint has one that the forward pass wouldn't use.
absl::Status CheckTensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace quartet::model
