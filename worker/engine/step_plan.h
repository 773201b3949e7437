// What the leader tells all ranks about one step, and the mirror that turns it into the model's
// input. A plan carries only what changed of the block tables; every rank, the leader among them,
// keeps them in a mirror, so all ranks see the same step by the same code.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/model/step_input.h"

namespace quartet::engine {

// Writes `blocks` into the block table of `slot` from `first` on; the table ends after them.
struct BlockTableUpdate {
  int32_t slot = 0;
  int32_t first = 0;
  std::vector<int32_t> blocks;
};

// Stands in a plan for the token that the same slot sampled in the step before, which was not known
// when the plan was made.
inline constexpr int32_t kSampledToken = -1;

// A plan without sequences is a probe: it passes through every rank's queue and reads no weights.
struct StepPlan {
  uint64_t step = 0;  // counts up by one from 1 in an epoch
  uint64_t epoch = 0;
  // [num_tokens], one sequence after the other; kSampledToken only as the one new token of a
  // sequence.
  std::vector<int32_t> token_ids;
  std::vector<int32_t> slots;              // [num_sequences]
  std::vector<int32_t> num_new_tokens;     // [num_sequences]
  std::vector<int32_t> num_cached_tokens;  // [num_sequences], in the KV cache before the step
  std::vector<int32_t> num_logits;  // [num_sequences], of the last new tokens that need logits
  std::vector<BlockTableUpdate> block_updates;
};

// Bounds that every plan keeps, the same on all ranks.
struct StepLimits {
  int64_t vocab_size = 0;
  int64_t num_blocks = 0;
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
};

// Tokens of `input` that are not known yet.
int64_t CountSampledTokens(const model::StepInput& input);
// Puts `ids` in their places, in order. Returns INVALID_ARGUMENT if there are more or fewer places,
// or an id is not below `vocab_size`.
absl::Status FillSampledTokens(const std::vector<int32_t>& ids, int64_t vocab_size,
                               model::StepInput* input);

// Not thread-safe.
class StepMirror {
 public:
  StepMirror(const StepLimits& limits, uint64_t epoch);

  // Applies the plan's block updates and fills `input`, in which kSampledToken stays as it is.
  // Returns INVALID_ARGUMENT with what is wrong if the plan breaks the limits, is of another epoch,
  // or doesn't follow the last one.
  absl::Status Apply(const StepPlan& plan, model::StepInput* input);

 private:
  absl::Status ApplyBlockUpdates(const StepPlan& plan);
  absl::Status CheckShape(const StepPlan& plan) const;
  absl::Status CheckTokens(const StepPlan& plan) const;
  absl::Status AddSequence(const StepPlan& plan, size_t index, model::StepInput* input);

  const StepLimits limits_;
  const uint64_t epoch_;
  uint64_t last_step_ = 0;
  std::vector<std::vector<int32_t>> block_tables_;  // by slot
};

}  // namespace quartet::engine
