// The forward pass of one shard: decoder.cc is the definition of the model. Qwen2 and Llama differ
// in the biases of q, k and v alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "worker/device/device.h"
#include "worker/model/decoder_buffers.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/model/weights.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/shard.h"

namespace quartet::model {

class Decoder : public Model {
 public:
  // The device and the communicator must outlive the decoder. Allocates the KV cache and all
  // buffers. Returns INVALID_ARGUMENT for sizes that don't fit together, RESOURCE_EXHAUSTED if the
  // device has no room.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(
      const ModelConfig& config, ModelWeights weights, const parallel::Shard& shard,
      device::Device& device, parallel::Communicator& communicator, const DecoderOptions& options);

  // Allocates the KV cache anew if its size changes.
  absl::Status JoinGroup(parallel::Communicator& communicator, int64_t num_kv_blocks) override;
  // Returns INVALID_ARGUMENT if the step doesn't fit the options or the cache, and what the
  // communicator returns. After an error of the communicator the group must be formed again.
  absl::Status ShareTokenIds(std::vector<int32_t>* ids) override;
  absl::Status Forward(const StepInput& input) override;
  absl::Status Sample(std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override;

  // Rank 0 only: copies row `row` of the last Forward's logits, vocab_size of them.
  absl::Status ReadLogits(int64_t row, std::span<float> out);

  const KvCache& kv_cache() const { return kv_cache_; }

 private:
  Decoder(const ModelConfig& config, ModelWeights weights, const parallel::Shard& shard,
          device::Device& device, parallel::Communicator& communicator,
          const DecoderOptions& options, KvCache kv_cache, DecoderBuffers buffers);

  absl::Status CheckInput(const StepInput& input) const;
  absl::Status Probe();
  absl::Status Embed(int64_t num_tokens);
  absl::Status RunLayer(int layer, const StepInput& input);
  absl::Status Attend(const LayerWeights& weights, int layer, const StepInput& input);
  absl::Status FeedForward(const LayerWeights& weights, int64_t num_tokens);
  absl::Status ComputeLogits(int64_t num_tokens);
  absl::Status NormAfterAdding(kernels::DevicePtr<const float> delta,
                               kernels::DevicePtr<const float> weight, int64_t num_tokens);
  absl::Status SummedProduct(const kernels::Activation& x, const kernels::PackedMatrix& weight,
                             int64_t num_tokens);

  const ModelConfig config_;
  const ModelWeights weights_;
  const parallel::Shard shard_;
  device::Device& device_;
  parallel::Communicator* communicator_;  // the group's that it belongs to now
  const DecoderOptions options_;
  KvCache kv_cache_;
  const DecoderBuffers buffers_;
  StepArrays step_;
  const std::unique_ptr<device::Queue> queue_;
  int64_t num_logits_ = 0;  // rows of logits that the last Forward left
};

}  // namespace quartet::model
