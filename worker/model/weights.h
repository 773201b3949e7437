// The weights of one rank as the forward pass uses them: packed, in device memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device_ptr.h"
#include "kernels/ops.h"
#include "worker/device/device.h"

namespace quartet::model {

// Sizes below are this rank's: num_heads, num_kv_heads and intermediate_size are the shard's.
struct LayerWeights {
  kernels::DevicePtr<const float> input_layernorm;           // [hidden_size]
  kernels::DevicePtr<const float> post_attention_layernorm;  // [hidden_size]
  // [(num_heads + 2 * num_kv_heads) * head_dim, hidden_size]: q heads, k heads, v heads; rows in
  // HF's order (pairs i and i + head_dim / 2), also when they come from a GGUF.
  kernels::PackedMatrix qkv_proj;
  kernels::DevicePtr<const float> qkv_bias;  // [qkv_proj.rows]; null if the model has none
  kernels::PackedMatrix o_proj;              // [hidden_size, num_heads * head_dim]
  kernels::PackedMatrix gate_up_proj;        // [2 * intermediate_size, hidden_size]: gate, then up
  kernels::PackedMatrix down_proj;           // [hidden_size, intermediate_size]
};

// Moves, doesn't copy; frees the device memory with it.
struct ModelWeights {
  // Shard::vocab_rows rows, of which the last ones may be padding (zeros).
  kernels::PackedMatrix embed_tokens;  // [vocab_rows, hidden_size]
  kernels::PackedMatrix lm_head;       // [vocab_rows, hidden_size]; embed_tokens itself if tied
  kernels::DevicePtr<const float> final_norm;  // [hidden_size]
  int64_t vocab_first_row = 0;                 // id of row 0 of embed_tokens and lm_head
  int64_t vocab_rows = 0;
  std::vector<LayerWeights> layers;

  int64_t weight_bytes = 0;    // device memory that this rank's weights take
  int64_t num_parameters = 0;  // of the whole model, all ranks
  std::string model_hash;      // 64 hex digits; see ModelHash in weight_loader.h

  std::unique_ptr<device::Memory> memory;  // everything above points into it
};

}  // namespace quartet::model
