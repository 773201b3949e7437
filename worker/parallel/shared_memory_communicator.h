// Exchange between ranks on one host through shared memory: each rank copies its partial sums into
// a slot of its own and adds up everybody's in the same order.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/shared_memory_segment.h"

namespace quartet::parallel {

class SharedMemoryCommunicator : public Communicator {
 public:
  // Blocks until all ranks are there; see SharedMemorySegment::Connect for the errors.
  static absl::StatusOr<std::unique_ptr<SharedMemoryCommunicator>> Connect(
      const SharedMemoryOptions& options);

  int rank() const override { return segment_->options().rank; }
  int world_size() const override { return segment_->options().world_size; }
  absl::Status AllReduceSegments(device::Queue& queue, kernels::DevicePtr<const float> segments,
                                 int num_segments, int64_t count,
                                 kernels::DevicePtr<float> out) override;
  absl::Status GatherColumns(device::Queue& queue, kernels::DevicePtr<const float> part,
                             int64_t num_rows, int64_t cols,
                             kernels::DevicePtr<float> out) override;
  absl::Status Broadcast(void* data, int64_t bytes) override;
  void Abort() override { segment_->Abort(); }
  int waiting_for() const override { return segment_->waiting_for(); }

 private:
  // A range of elements [first, first + count) of all segments, as it lies in the slots:
  // [num_segments, count].
  struct Piece {
    int num_segments;
    int64_t first;
    int64_t count;
  };

  explicit SharedMemoryCommunicator(std::unique_ptr<SharedMemorySegment> segment)
      : segment_(std::move(segment)) {}
  absl::Status Reduce(device::Queue& queue, kernels::DevicePtr<const float> segments,
                      int num_segments, int64_t count, kernels::DevicePtr<float> out);
  absl::Status Gather(device::Queue& queue, kernels::DevicePtr<const float> part, int64_t num_rows,
                      int64_t cols, kernels::DevicePtr<float> out);
  absl::Status Share(void* data, int64_t bytes);
  absl::Status BeginPiece();
  absl::Status ArriveAndWaitForAll();
  void SumRange(const Piece& piece, int64_t begin, int64_t end, float* out) const;
  absl::Status ReducePiece(device::Queue& queue, const Piece& piece, kernels::DevicePtr<float> out);
  absl::Status GatherPiece(device::Queue& queue, int64_t num_rows, int64_t first_col,
                           int64_t num_cols, int64_t cols, kernels::DevicePtr<float> out);
  const float* SlotOf(int rank) const;
  float* own_slot() const;
  int64_t slot_elements() const;

  const std::unique_ptr<SharedMemorySegment> segment_;
  // Every piece of data has one arrival, or two if the ranks divide the sum; the pieces take the
  // two buffers by turns. A rank that has arrived for a piece has finished all pieces before it,
  // so a buffer is free again once everybody has arrived for the piece after its last one.
  uint32_t arrivals_ = 0;          // of this rank; the same sequence on every rank
  uint32_t previous_arrival_ = 0;  // the first arrival of the piece before the current one
  int buffer_ = 0;                 // of the current piece
  // The first error. This rank has left the common order of arrivals then, so that all later calls
  // return it: going on would add up numbers of different steps.
  absl::Status failure_;
  std::vector<float> sum_;  // of a piece that every rank sums for itself
};

}  // namespace quartet::parallel
