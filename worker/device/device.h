// The seam for hardware: memory, ordered queues and the operations of kernels/ops.h. Nothing
// outside worker/device and kernels knows the kind of device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "kernels/sampling.h"

namespace quartet::device {

// Device memory, freed with its owner.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual kernels::DevicePtr<void> data() const = 0;
  virtual int64_t bytes() const = 0;
};

// Operations run in the order in which they were enqueued. The calls return errors of enqueueing
// only; results are there after Wait(). One thread at a time.
class Queue {
 public:
  virtual ~Queue() = default;

  virtual absl::Status Upload(kernels::DevicePtr<void> to, const void* from, int64_t bytes) = 0;
  virtual absl::Status ReadBack(void* to, kernels::DevicePtr<const void> from, int64_t bytes) = 0;

  virtual absl::Status Embedding(const kernels::EmbeddingArgs& args) = 0;
  virtual absl::Status AddRmsNorm(const kernels::AddRmsNormArgs& args) = 0;
  virtual absl::Status Matmul(const kernels::MatmulArgs& args) = 0;
  virtual absl::Status RopeTable(const kernels::RopeTableArgs& args) = 0;
  virtual absl::Status RopeAndCache(const kernels::RopeAndCacheArgs& args) = 0;
  virtual absl::Status Attention(const kernels::AttentionArgs& args) = 0;
  virtual absl::Status Swiglu(const kernels::SwigluArgs& args) = 0;
  virtual absl::Status GatherRows(const kernels::GatherRowsArgs& args) = 0;
  virtual absl::Status SumSegments(const kernels::SumSegmentsArgs& args) = 0;

  // Samples `rows` from `logits` [num_rows, vocab_size] f32; ids from `sample_limit` up are never
  // sampled. `out` is filled after Wait(), one entry a row.
  virtual absl::Status Sample(kernels::DevicePtr<const float> logits, int64_t vocab_size,
                              int64_t sample_limit, std::span<const kernels::SampleRow> rows,
                              std::vector<kernels::SampledToken>* out) = 0;

  // Waits until everything enqueued so far is done; returns the first error of running it.
  virtual absl::Status Wait() = 0;
};

// Thread-safe except for the queues it gives.
class Device {
 public:
  virtual ~Device() = default;

  // "cpu".
  virtual std::string kind() const = 0;
  // Backend, instruction set and kernel version: equal ids (and dtypes) give equal bits.
  virtual std::string numerics_id() const = 0;

  // Returns RESOURCE_EXHAUSTED with the number of bytes if there is no room. Zeroed.
  virtual absl::StatusOr<std::unique_ptr<Memory>> Allocate(int64_t bytes) = 0;
  // Bytes that can still be allocated.
  virtual int64_t AvailableBytes() const = 0;
  virtual std::unique_ptr<Queue> NewQueue() = 0;

  // Bytes of a packed weight matrix of this shape.
  virtual int64_t PackedBytes(int64_t rows, int64_t cols) const = 0;
  // Packs `num_rows` rows (host memory, bf16, [num_rows, weight.cols]) into rows [first_row,
  // first_row + num_rows) of `weight`. Rows that were never packed are zero. Calls for disjoint
  // groups of 64 rows may run in parallel.
  virtual absl::Status PackRows(const kernels::PackedMatrix& weight, int64_t first_row,
                                int64_t num_rows, const kernels::bfloat16* rows) = 0;

  // Bytes of one block's keys (and as many for its values) in one layer.
  virtual int64_t KvBlockBytes(int num_kv_heads, int head_dim, kernels::DType dtype) const = 0;
};

}  // namespace quartet::device
