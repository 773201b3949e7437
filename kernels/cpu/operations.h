// The operations of kernels/ops.h on the CPU. Each checks its arguments, divides the work among the
// threads of a pool and calls the kernels of one instruction set. They return when the work is
// done.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace quartet::kernels::cpu {

// What a stream of operations computes with. One thread at a time; several contexts may share a
// pool.
struct Context {
  const KernelTable& kernels;
  ThreadPool& pool;
  // Scratch that grows to what was needed so far.
  std::vector<float> expanded;                     // bf16 activations as f32
  std::vector<std::vector<float>> thread_scratch;  // one for each thread of the pool
  std::vector<float> attention_parts;              // results of splits that are computed apart
  PathCounters* paths = nullptr;                   // what the operations count in; null: nothing
};

// All return INVALID_ARGUMENT for shapes that don't fit together.
absl::Status Embedding(Context& context, const EmbeddingArgs& args);
absl::Status AddRmsNorm(Context& context, const AddRmsNormArgs& args);
absl::Status Matmul(Context& context, const MatmulArgs& args);
absl::Status RopeTable(Context& context, const RopeTableArgs& args);
absl::Status RopeAndCache(Context& context, const RopeAndCacheArgs& args);
absl::Status Attention(Context& context, const AttentionArgs& args);
absl::Status Swiglu(Context& context, const SwigluArgs& args);
absl::Status GatherRows(Context& context, const GatherRowsArgs& args);
absl::Status SumSegments(Context& context, const SumSegmentsArgs& args);

// Bytes of a packed weight matrix [rows, cols].
int64_t PackedBytes(int64_t rows, int64_t cols);
// Packs rows [first_row, first_row + num_rows); see device.h. Runs on the calling thread.
absl::Status PackRows(const PackedMatrix& weight, int64_t first_row, int64_t num_rows,
                      const bfloat16* rows);
// Bytes of one block's keys, and as many for its values.
int64_t KvBlockBytes(int num_kv_heads, int head_dim, DType dtype);

}  // namespace quartet::kernels::cpu
