// The sequence of operations of one forward pass over random weights: what a decoder does on one
// rank, without the decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/device/device.h"

namespace quartet::bench {

struct ModelShape {
  int64_t hidden_size = 896;
  int64_t intermediate_size = 4864;
  int num_layers = 24;
  int num_heads = 14;
  int num_kv_heads = 2;
  int head_dim = 64;
  int64_t vocab_size = 151936;  // tied: the embedding is the lm_head

  int64_t qkv_width() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  // Weights that every token's products read, the lm_head apart.
  int64_t layer_weights() const {
    return num_layers * (hidden_size * qkv_width() + hidden_size * num_heads * head_dim +
                         3 * hidden_size * intermediate_size);
  }
  int64_t lm_head_weights() const { return vocab_size * hidden_size; }
};

// Time of the parts of one pass, in seconds.
struct PassTimes {
  double matmul = 0;
  double attention = 0;
  double lm_head = 0;
  double rest = 0;
  double total() const { return matmul + attention + lm_head + rest; }
};

// One thread at a time.
class SimulatedModel {
 public:
  static absl::StatusOr<std::unique_ptr<SimulatedModel>> Create(device::Device& device,
                                                                const ModelShape& shape,
                                                                int64_t max_tokens,
                                                                int64_t max_context,
                                                                int64_t max_sequences);

  // `num_sequences` sequences of `num_tokens` new tokens each after `context` positions.
  absl::StatusOr<PassTimes> Forward(int64_t num_sequences, int64_t num_tokens, int64_t context);

 private:
  struct Layer {
    kernels::PackedMatrix qkv, o, gate_up, down;
    kernels::KvCacheLayer cache;
  };

  SimulatedModel(device::Device& device, const ModelShape& shape)
      : device_(device), shape_(shape), queue_(device.NewQueue()) {}
  absl::Status Allocate(int64_t max_tokens, int64_t max_context, int64_t max_sequences);
  absl::StatusOr<kernels::DevicePtr<void>> NewMemory(int64_t bytes);
  absl::StatusOr<kernels::PackedMatrix> NewMatrix(int64_t rows, int64_t cols);
  void SetStep(int64_t num_sequences, int64_t num_tokens, int64_t context);
  absl::Status RunLayer(const Layer& layer, int64_t num_sequences, int64_t total, PassTimes* times);
  absl::Status RunLogits(int64_t num_sequences, int64_t total, PassTimes* times);
  // delta_ = sum over the segments.
  absl::Status SumSegments(int64_t num_tokens);

  device::Device& device_;
  const ModelShape shape_;
  std::unique_ptr<device::Queue> queue_;
  std::vector<std::unique_ptr<device::Memory>> memory_;
  std::vector<Layer> layers_;
  kernels::PackedMatrix table_;
  int64_t max_blocks_ = 0;
  kernels::DevicePtr<void> hidden_, q_, attention_out_, activated_;  // bf16
  kernels::DevicePtr<float> residual_, delta_, wide_, segments_, cos_sin_, weight_, logits_;
  kernels::DevicePtr<double> frequencies_;
  kernels::DevicePtr<int32_t> ids_, positions_, slots_, query_start_, kv_len_, tables_, rows_;
};

}  // namespace quartet::bench
