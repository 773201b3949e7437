// The operations of a forward pass, as plain structs of pointers and shapes that know no device. A
// device enqueues them (worker/device/device.h). All matrices are row-major; T is the number of
// tokens in the step.
//
// Contract of all operations: the result of one row depends on that row's inputs alone, in a fixed
// order of operations; never on the number of rows, the number of threads, or what else is in the
// batch.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"
#include "kernels/device_ptr.h"

namespace quartet::kernels {

enum class DType { kFloat32, kBFloat16 };

constexpr int64_t SizeOf(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

// Tokens in one block of the KV cache.
inline constexpr int kBlockTokens = 16;

// A matrix [rows, cols] of activations that feeds a product: bf16, or f32 in the float32 compute
// mode.
struct Activation {
  DevicePtr<void> data;
  DType dtype = DType::kBFloat16;
};

// A weight matrix [rows, cols] (out_features, in_features) of bf16 values in the device's own
// packing.
struct PackedMatrix {
  DevicePtr<void> data;
  int64_t rows = 0;
  int64_t cols = 0;
};

// One layer's keys and values of this rank. The layout inside a block is the device's.
struct KvCacheLayer {
  DevicePtr<void> keys;    // num_blocks blocks
  DevicePtr<void> values;  // num_blocks blocks
  DType dtype = DType::kBFloat16;
  int64_t num_blocks = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// out[t] = table[token_ids[t] - first_row] where this rank owns the row, else zeros.
struct EmbeddingArgs {
  DevicePtr<const int32_t> token_ids;  // [T]
  int64_t num_tokens = 0;
  PackedMatrix table;     // [rows owned, hidden_size]
  int64_t first_row = 0;  // vocabulary id of table row 0
  DevicePtr<float> out;   // [T, hidden_size]
};

// residual[t] += delta[t] (if there is a delta); out[t] = residual[t] / sqrt(mean(residual[t]^2) +
// epsilon) * weight. Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
struct AddRmsNormArgs {
  DevicePtr<float> residual;      // [T, hidden_size], updated
  DevicePtr<const float> delta;   // [T, hidden_size] or null
  DevicePtr<const float> weight;  // [hidden_size]
  float epsilon = 0;
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  Activation out;  // [T, hidden_size]
};

// out[s, t, n] = sum over k in segment s of x[t, k] * weight[n, k], accumulated in fp32. Segment s
// is the columns [s, s + 1) * cols / num_segments, whose width is even. num_segments = 1 is the
// plain product.
struct MatmulArgs {
  Activation x;  // [T, cols]
  int64_t num_tokens = 0;
  PackedMatrix weight;  // [rows, cols]
  int num_segments = 1;
  DevicePtr<float> out;  // [num_segments, T, rows]
};

// cos_sin[t] = {cos(p * f_i) * scale for all i, then sin(p * f_i) * scale}, p = positions[t].
// Computed in double once a step and used by all layers.
struct RopeTableArgs {
  DevicePtr<const int32_t> positions;           // [T]
  DevicePtr<const double> inverse_frequencies;  // [head_dim / 2]
  double scale = 1;                             // YaRN's attention factor, else 1
  int64_t num_tokens = 0;
  int head_dim = 0;
  DevicePtr<float> cos_sin;  // [T, head_dim]
};

// Adds the bias, rotates q and k (pairs i and i + head_dim / 2, as HF stores them), writes q out
// and k, v into the cache. Su et al. 2021, "RoFormer".
struct RopeAndCacheArgs {
  DevicePtr<const float>
      qkv;  // [T, (num_heads + 2 * num_kv_heads) * head_dim]: all q, all k, all v
  DevicePtr<const float> bias;            // [(num_heads + 2 * num_kv_heads) * head_dim] or null
  DevicePtr<const float> cos_sin;         // [T, head_dim]
  DevicePtr<const int32_t> slot_mapping;  // [T]: block * kBlockTokens + offset
  int64_t num_tokens = 0;
  int num_heads = 0;
  Activation q;  // [T, num_heads * head_dim]
  KvCacheLayer cache;
};

// Causal attention of every new token over its sequence's paged cache (which already holds the new
// tokens). Query t of sequence s with index j = t - query_start[s] sees the first kv_len[s] -
// (query_start[s + 1] - query_start[s]) + j + 1 positions. KV is split at absolute positions and
// merged in order, so prompt and decode give the same bits. Online softmax: Milakov and Gimelshein
// 2018; paging: Kwon et al. 2023 (vLLM).
struct AttentionArgs {
  Activation q;  // [T, num_heads * head_dim]
  KvCacheLayer cache;
  DevicePtr<const int32_t> query_start;   // [num_sequences + 1]
  DevicePtr<const int32_t> kv_len;        // [num_sequences], new tokens included
  DevicePtr<const int32_t> block_tables;  // [num_sequences, max_blocks]
  int64_t num_sequences = 0;
  int64_t max_blocks = 0;
  int64_t num_tokens = 0;
  int num_heads = 0;
  float scale = 1;  // 1 / sqrt(head_dim)
  Activation out;   // [T, num_heads * head_dim]
};

// out[t, i] = silu(gate_up[t, i]) * gate_up[t, intermediate_size + i]. Shazeer 2020, "GLU Variants
// Improve Transformer".
struct SwigluArgs {
  DevicePtr<const float> gate_up;  // [T, 2 * intermediate_size]
  int64_t num_tokens = 0;
  int64_t intermediate_size = 0;
  Activation out;  // [T, intermediate_size]
};

// out[r] = in[rows[r]].
struct GatherRowsArgs {
  DevicePtr<const float> in;      // [T, width]
  DevicePtr<const int32_t> rows;  // [num_rows]
  int64_t num_rows = 0;
  int64_t width = 0;
  DevicePtr<float> out;  // [num_rows, width]
};

// out[i] = ((segments[0, i] + segments[1, i]) + segments[2, i]) + ...
struct SumSegmentsArgs {
  DevicePtr<const float> segments;  // [num_segments, count]
  int num_segments = 0;
  int64_t count = 0;
  DevicePtr<float> out;  // [count]
};

}  // namespace quartet::kernels
