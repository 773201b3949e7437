// What the engine needs of a model; worker/model/decoder.h implements it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling.h"
#include "worker/model/step_input.h"
#include "worker/parallel/communicator.h"

namespace quartet::model {

// One shard of a model with its KV cache. One thread at a time; all ranks run the same steps in the
// same order.
class Model {
 public:
  virtual ~Model() = default;

  // Goes on in another group, with its communicator (which must outlive the model or its next
  // JoinGroup) and this many KV blocks. Keeps the weights; what the KV cache held is lost. Returns
  // INVALID_ARGUMENT if the group doesn't fit, RESOURCE_EXHAUSTED if the device has no room: the
  // model is of no use then.
  virtual absl::Status JoinGroup(parallel::Communicator& communicator, int64_t num_kv_blocks) {
    return absl::UnimplementedError("this model can't change its group");
  }

  // Gives rank 0's `ids` to all ranks, which come with as many of their own. All ranks call it
  // before the same Forward, or none does.
  virtual absl::Status ShareTokenIds(std::vector<int32_t>* ids) { return absl::OkStatus(); }

  // Runs one forward pass; one without tokens is a probe: a small all-reduce through the queue that
  // reads no weights. Logits of input.logits_rows stay with the model on rank 0 until the next
  // call.
  virtual absl::Status Forward(const StepInput& input) = 0;

  // Rank 0 only: samples from the last Forward's logits; SampleRow::logits_row counts in
  // input.logits_rows.
  virtual absl::Status Sample(std::span<const kernels::SampleRow> rows,
                              std::vector<kernels::SampledToken>* out) = 0;
};

}  // namespace quartet::model
