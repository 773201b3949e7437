// Runs a golden model as the engine would: loads it with the real loader onto real devices, one
// thread for each rank, and feeds it steps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "tests/golden/model/golden_model.h"
#include "worker/model/checkpoint.h"
#include "worker/model/step_input.h"

namespace quartet::golden {

// Steps over all sequences of a reference (prompt, then all reference tokens but the last), with
// shuffled KV blocks.
struct Schedule {
  struct Step {
    model::StepInput input;
    std::vector<int64_t> positions;  // of the reference, one for each row of logits
  };
  std::vector<Step> steps;
  int64_t num_kv_blocks = 0;
  int64_t max_step_tokens = 0;
  int64_t max_logits_rows = 0;
};

// Each sequence alone, in one step.
Schedule WholeSequences(const Reference& reference);
// As served: a new sequence joins at every step, prompts in chunks of 16, then one token a step,
// all sequences in one batch.
Schedule ServedTogether(const Reference& reference);
// As WholeSequences, but no token sees position `masked` except that one itself: later tokens
// overwrite it in the cache.
Schedule WithMaskedPosition(const Reference& reference, int masked);

struct RunOptions {
  std::string instruction_set = "auto";
  kernels::DType dtype = kernels::DType::kFloat32;
  int world_size = 1;
};

// The logits of all positions, [num_positions, vocab_size].
absl::StatusOr<std::vector<float>> RunGolden(const model::Checkpoint& checkpoint,
                                             const model::ModelConfig& config,
                                             const Schedule& schedule, const RunOptions& options);

// How far logits are from the reference's, in standard deviations of a position's logits.
struct Comparison {
  double max_logit_error = 0;       // of sampled ids and the reference's top two
  double max_projection_error = 0;  // of the sums over all ids with random signs
  int64_t num_positions = 0;
  int64_t num_argmax_differs = 0;
  // Positions where the reference's top two are more than twice the bound apart.
  int64_t num_clear = 0;
  int64_t num_clear_argmax_differs = 0;
};
Comparison Compare(const std::vector<float>& logits, const Reference& reference, double bound);

}  // namespace quartet::golden
