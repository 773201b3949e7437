// Rotary frequencies of a model: how fast each pair of dimensions turns with the position. Computed
// once when a model is loaded; kernels turn them into sines and cosines (RopeTableArgs).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/model_config.h"

namespace quartet::model {

struct RopeFrequencies {
  std::vector<double> inverse_frequencies;  // [head_dim / 2]: radians per position
  double attention_factor = 1;              // what cosines and sines are multiplied by
};

// Formulas: transformers, modeling_rope_utils.py. `max_model_len` is the longest context that will
// be served: type dynamic takes its frequencies from it once, because frequencies that change with
// the current length would not fit keys that are already cached. Returns INVALID_ARGUMENT naming
// the type if the numbers give no finite frequencies.
absl::StatusOr<RopeFrequencies> ComputeRopeFrequencies(const RopeConfig& rope, int head_dim,
                                                       int64_t max_model_len);

}  // namespace quartet::model
