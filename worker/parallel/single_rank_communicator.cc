#include "worker/parallel/single_rank_communicator.h"

#include "common/status_macros.h"

namespace quartet::parallel {

absl::Status SingleRankCommunicator::Check() const {
  if (aborted_) return absl::AbortedError("the group was ended");
  return absl::OkStatus();
}

absl::Status SingleRankCommunicator::AllReduceSegments(device::Queue& queue,
                                                       kernels::DevicePtr<const float> segments,
                                                       int num_segments, int64_t count,
                                                       kernels::DevicePtr<float> out) {
  RETURN_IF_ERROR(Check());
  return queue.SumSegments(
      {.segments = segments, .num_segments = num_segments, .count = count, .out = out});
}

absl::Status SingleRankCommunicator::GatherColumns(device::Queue& queue,
                                                   kernels::DevicePtr<const float> part,
                                                   int64_t num_rows, int64_t cols,
                                                   kernels::DevicePtr<float> out) {
  RETURN_IF_ERROR(Check());
  // One segment: a copy.
  return queue.SumSegments(
      {.segments = part, .num_segments = 1, .count = num_rows * cols, .out = out});
}

}  // namespace quartet::parallel
