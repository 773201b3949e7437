// What the engine needs of a model; worker/model/decoder.h implements it.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling.h"
#include "worker/model/step_input.h"

namespace quartet::model {

// One shard of a model with its KV cache. One thread at a time; all ranks run the same steps in the
// same order.
class Model {
 public:
  virtual ~Model() = default;

  // Gives rank 0's `ids` to all ranks, which come with as many of their own. All ranks call it
  // before the same Forward, or none does.
  virtual absl::Status ShareTokenIds(std::vector<int32_t>* ids) { return absl::OkStatus(); }

  // Runs one forward pass. Logits of input.logits_rows stay with the model on rank 0 until the next
  // call.
  virtual absl::Status Forward(const StepInput& input) = 0;

  // Rank 0 only: samples from the last Forward's logits; SampleRow::logits_row counts in
  // input.logits_rows.
  virtual absl::Status Sample(std::span<const kernels::SampleRow> rows,
                              std::vector<kernels::SampledToken>* out) = 0;
};

}  // namespace quartet::model
