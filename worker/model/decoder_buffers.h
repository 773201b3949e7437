// The memory that a forward pass works in: activations, allocated once for the largest step, and
// the arrays of the current step.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "worker/device/device.h"
#include "worker/model/model_config.h"
#include "worker/model/rope_frequencies.h"
#include "worker/model/step_input.h"
#include "worker/parallel/shard.h"

namespace quartet::model {

struct DecoderOptions {
  // Of inputs of matrix products and of the KV cache: kBFloat16, or kFloat32 (the slow mode for
  // comparisons).
  kernels::DType compute_dtype = kernels::DType::kBFloat16;
  // Tokens of a step.
  int64_t max_step_tokens = 2048;
  // Rows of logits of a step; at world size W they take max_logits_rows * vocab_size * 4 bytes on
  // rank 0, and 1 / W of that on the others.
  int64_t max_logits_rows = 256;
  // Ids from here up are never sampled: the tokenizer's size. 0: vocab_size.
  int64_t sample_limit = 0;
  // At the start; another group may bring another number.
  int64_t num_kv_blocks = 0;
  // The longest context that is served; dynamic RoPE depends on it.
  int64_t max_model_len = 0;
};

// Shapes: T = max_step_tokens, L = max_logits_rows; num_heads, intermediate_size and vocab_rows are
// this rank's. "act" is compute_dtype.
struct DecoderBuffers {
  kernels::DevicePtr<float> residual;     // [T, hidden_size]
  kernels::DevicePtr<float> delta;        // [T, hidden_size]: what a block adds to the residual
  kernels::DevicePtr<float> segments;     // [num_segments, T, hidden_size]: its partial sums
  kernels::Activation normed;             // [T, hidden_size] act
  kernels::DevicePtr<float> cos_sin;      // [T, head_dim]
  kernels::DevicePtr<float> qkv;          // [T, (num_heads + 2 * num_kv_heads) * head_dim]
  kernels::Activation q;                  // [T, num_heads * head_dim] act
  kernels::Activation attention;          // [T, num_heads * head_dim] act
  kernels::DevicePtr<float> gate_up;      // [T, 2 * intermediate_size]
  kernels::Activation gated;              // [T, intermediate_size] act
  kernels::DevicePtr<float> last;         // [L, hidden_size]: residual of the rows that give logits
  kernels::DevicePtr<float> last_delta;   // [L, hidden_size]
  kernels::Activation last_normed;        // [L, hidden_size] act
  kernels::DevicePtr<float> logits_part;  // [L, vocab_rows]; at world size 1 it is `logits`
  kernels::DevicePtr<float> logits;       // rank 0: [L, padded_vocab_size], else null
  kernels::DevicePtr<double> inverse_frequencies;  // [head_dim / 2]
  double rope_scale = 1;

  std::unique_ptr<device::Memory> memory;
};

// Bytes that CreateDecoderBuffers allocates.
int64_t DecoderBuffersBytes(const ModelConfig& config, const parallel::Shard& shard,
                            const DecoderOptions& options);

// Also uploads the rotary frequencies. Returns RESOURCE_EXHAUSTED with the sums.
absl::StatusOr<DecoderBuffers> CreateDecoderBuffers(device::Device& device,
                                                    const ModelConfig& config,
                                                    const parallel::Shard& shard,
                                                    const DecoderOptions& options);

// The arrays of a step in device memory, uploaded as one copy.
class StepArrays {
 public:
  explicit StepArrays(device::Device& device) : device_(device) {}

  // Grows the memory where a step has more block table entries than any before.
  absl::Status Upload(const StepInput& input, device::Queue& queue);

  // Shapes: StepInput.
  kernels::DevicePtr<const int32_t> token_ids;
  kernels::DevicePtr<const int32_t> positions;
  kernels::DevicePtr<const int32_t> slot_mapping;
  kernels::DevicePtr<const int32_t> query_start;
  kernels::DevicePtr<const int32_t> kv_len;
  kernels::DevicePtr<const int32_t> block_tables;
  kernels::DevicePtr<const int32_t> logits_rows;

 private:
  device::Device& device_;
  std::unique_ptr<device::Memory> memory_;
  std::vector<int32_t> staged_;  // all arrays, one after another
};

}  // namespace quartet::model
