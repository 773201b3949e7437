// A model without weights: a step takes the time that a hardware profile says, and tokens come from
// a hash of what lies in the sequence's KV blocks. All else that a rank does is real: the plan
// comes to every process, block tables are mirrored, and the ranks meet in the communicator each
// step.
//
// The simulated KV cache holds one 64-bit number a position, which chains all tokens up to it:
// chain[p] = Mix(chain[p - 1], token[p], p), where chain[p - 1] is read through the block table. A
// row of logits hashes its own position's number and some earlier ones', so that a wrong block
// table, a block shared by mistake or written over, or a lost position changes the tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/device/device.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/parallel/communicator.h"
#include "worker/simulated/step_time.h"
#include "worker/simulated/token_choice.h"

namespace quartet::simulated {

// A steady clock, in seconds, and a way to wait for it.
struct Clock {
  std::function<double()> now;
  std::function<void(double)> sleep_until;
};

// clock_nanosleep to an absolute deadline; no spinning.
Clock SteadyClock();

struct SimulatedModelOptions {
  double time_scale = 1;  // of all device times
  int64_t num_kv_blocks = 0;
  Clock clock = SteadyClock();
};

// Only rank 0 keeps the KV cache and sleeps; the others wait for it in the communicator.
class SimulatedModel : public model::Model {
 public:
  // `host` (a device that works here and now, for the ranks' meeting) and `communicator` must
  // outlive the model. Returns INVALID_ARGUMENT if num_kv_blocks is not in the cache's range.
  static absl::StatusOr<std::unique_ptr<SimulatedModel>> Create(
      const model::ModelConfig& config, const StepTime& step_time,
      const SimulatedModelOptions& options, device::Device& host,
      parallel::Communicator& communicator);

  absl::Status JoinGroup(parallel::Communicator& communicator, int64_t num_kv_blocks) override;
  absl::Status ShareTokenIds(std::vector<int32_t>* ids) override;
  // The step's time starts when the device is free, and ends in Forward if no logits are wanted,
  // else in Sample. The ranks meet during it. Returns what the communicator returns, and INTERNAL
  // if the ranks' steps differ.
  absl::Status Forward(const model::StepInput& input) override;
  absl::Status Sample(std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override;

 private:
  SimulatedModel(const StepTime& step_time, const SimulatedModelOptions& options,
                 parallel::Communicator& communicator);

  absl::Status MeetOtherRanks(const model::StepInput& input);
  void WriteChain(const model::StepInput& input, int64_t sequence);
  uint64_t HashOfRow(const model::StepInput& input, int64_t sequence, int32_t row) const;

  const StepTime step_time_;
  const SimulatedModelOptions options_;
  parallel::Communicator* communicator_;  // the group's that it belongs to now
  TokenSpace token_space_;
  std::unique_ptr<device::Memory> meeting_memory_;  // what a rank says, and the sum over all
  std::unique_ptr<device::Queue> queue_;
  std::vector<uint64_t> chain_;       // [num_kv_blocks * kBlockTokens]; rank 0 only
  std::vector<uint64_t> row_hashes_;  // one a row of logits of the last Forward
  double free_at_ = 0;                // when the device has done all steps so far
};

}  // namespace quartet::simulated
