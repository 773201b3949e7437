// A small model with random weights, all its ranks in this process with a thread standing for each,
// as one Model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cpu/path_counters.h"
#include "worker/device/device.h"
#include "worker/model/decoder.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/parallel/communicator.h"

namespace quartet::model::testing {

struct DecoderGroupOptions {
  std::string instruction_set = "auto";
  int world_size = 1;
  int num_threads = 1;  // of each rank
  DecoderOptions decoder;
  kernels::cpu::PathCounters* path_counters = nullptr;
};

// One thread at a time.
class DecoderGroup : public Model {
 public:
  // Weights depend on `config` and `model_seed` alone.
  static absl::StatusOr<std::unique_ptr<DecoderGroup>> Create(const ModelConfig& config,
                                                              uint64_t model_seed,
                                                              const DecoderGroupOptions& options);

  absl::Status Forward(const StepInput& input) override;
  absl::Status Sample(std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override;
  // vocab_size logits of row `row` of the last Forward.
  absl::Status ReadLogits(int64_t row, std::span<float> out);

 private:
  struct Rank {
    std::unique_ptr<device::Device> device;
    std::unique_ptr<parallel::Communicator> communicator;
    std::unique_ptr<Decoder> decoder;
  };

  DecoderGroup() = default;

  std::vector<Rank> ranks_;
};

}  // namespace quartet::model::testing
