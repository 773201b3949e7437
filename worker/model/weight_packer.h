// Fills packed matrices from a checkpoint on several threads, and tells how far it is.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/bfloat16.h"
#include "kernels/ops.h"
#include "worker/device/device.h"
#include "worker/model/checkpoint.h"
#include "worker/model/weight_loader.h"

namespace quartet::model {

// Rows of one tensor that become consecutive rows of a packed matrix.
struct RowSource {
  std::string tensor;
  int64_t first_row = 0;  // in the tensor
  int64_t num_rows = 0;
  int64_t first_col = 0;  // in the tensor; the matrix's number of columns follow
};

// One packed matrix: its sources' rows one after the other. Rows beyond them stay zero.
struct PackJob {
  kernels::PackedMatrix matrix;
  std::vector<RowSource> sources;
};

// Use once.
class WeightPacker {
 public:
  // `drop_page_cache`: let go of the files' cached pages while reading.
  WeightPacker(const Checkpoint& checkpoint, device::Device& device, int rank,
               const LoadOptions& options, bool drop_page_cache);

  // Packs all of them; returns the first error.
  absl::Status Pack(const std::vector<PackJob>& jobs);

 private:
  // A group of rows that one thread packs at a time. Groups begin at multiples of 64 rows, so they
  // may be packed in parallel.
  struct Chunk {
    const PackJob* job;
    int64_t first_row;
    int64_t num_rows;
  };

  void Run();
  absl::Status PackChunk(const Chunk& chunk, std::vector<kernels::bfloat16>* buffer);
  void Report(int64_t bytes);

  const Checkpoint& checkpoint_;
  device::Device& device_;
  const int rank_;
  const LoadOptions& options_;
  const bool drop_page_cache_;

  std::vector<Chunk> chunks_;
  std::atomic<size_t> next_chunk_ = 0;
  std::atomic<bool> failed_ = false;

  std::mutex mutex_;  // guards what follows
  absl::Status status_;
  LoadProgress progress_;
  int64_t cached_bytes_ = 0;  // read since the page cache was last dropped
  int64_t logged_bytes_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point logged_;
};

}  // namespace quartet::model
