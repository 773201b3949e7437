// The kernels that exist once per instruction set, as a table of functions on raw pointers.
// Threads, scratch memory, shapes and checks are the launchers' business (operations.h). bf16
// values are uint16_t here: see layout.h on inline functions.
#pragma once

#include <cstdint>

#include "kernels/cpu/layout.h"
#include "kernels/cpu/path_counters.h"

namespace quartet::kernels::cpu {

// out[r][c] = sum over pairs of x[r] times one panel, for c < cols <= kPanelColumns. Each
// out[r][c] is summed in order of k.
template <typename T>
struct MatmulPanelArgs {
  const T* x;  // [rows, 2 * num_pairs], rows x_stride elements apart
  int64_t x_stride;
  const uint16_t* panel;  // [num_pairs][32][2]
  int64_t num_pairs;
  float* out;  // [rows, cols], rows out_stride elements apart
  int64_t out_stride;
  int64_t rows;
  int cols;
  PathCounters* paths = nullptr;
};

// One split of the cache for up to kMaxAttentionRows query rows that share a KV head.
template <typename T>
struct AttentionSplitArgs {
  const T* q;  // [rows, head_dim]
  int rows;
  int head_dim;
  float scale;
  const T* const* keys;  // one pointer for each block of the split
  const T* const* values;
  const int* visible;       // [rows]: positions of this split that the row sees; may be 0
  int max_visible;          // their maximum, >= 1; what lies behind it in the cache is never used
  float* q_f32;             // scratch [rows, head_dim]
  float* scores;            // scratch [rows, kSplitTokens]
  uint16_t* probabilities;  // scratch [rows, kSplitTokens]
  float* max;               // out [rows]: the largest scaled score; 0 if the row sees nothing
  float* sum;               // out [rows]: sum of exp(score - max)
  float* acc;               // out [rows, head_dim]: sum of exp(score - max) * value
  PathCounters* paths = nullptr;
};

struct KernelTable {
  const char* numerics_name;  // "avx512bf16", "avx2", "portable"

  // Null where there is no bf16 product: then x is expanded and matmul_f32 runs.
  void (*matmul_bf16)(const MatmulPanelArgs<uint16_t>& args);
  void (*matmul_f32)(const MatmulPanelArgs<float>& args);

  void (*expand_bf16)(const uint16_t* in, int64_t size, float* out);
  void (*round_to_bf16)(const float* in, int64_t size, uint16_t* out);

  // One row. `delta` may be null; one of out_bf16 and out_f32 is null.
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float epsilon,
                       int64_t size, uint16_t* out_bf16, float* out_f32);
  void (*swiglu)(const float* gate, const float* up, int64_t size, uint16_t* out_bf16,
                 float* out_f32);
  // out[i] = a cos - b sin, out[half + i] = b cos + a sin, with a, b = in[i], in[half + i] plus
  // bias (or null).
  void (*rotate)(const float* in, const float* bias, const float* cos, const float* sin, int half,
                 float* out);

  void (*attention_bf16)(const AttentionSplitArgs<uint16_t>& args);
  void (*attention_f32)(const AttentionSplitArgs<float>& args);
  // Adds a later split (max, sum, acc) to what is already in (total_max, total_sum, total_acc).
  void (*attention_merge)(float max, float sum, const float* acc, int head_dim, float* total_max,
                          float* total_sum, float* total_acc);
  // acc / sum. One of out_bf16 and out_f32 is null.
  void (*attention_finish)(const float* acc, float sum, int head_dim, uint16_t* out_bf16,
                           float* out_f32);
};

const KernelTable& PortableKernels();
const KernelTable& Avx2Kernels();
const KernelTable& Avx512Kernels();

}  // namespace quartet::kernels::cpu
