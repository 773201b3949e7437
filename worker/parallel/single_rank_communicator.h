// The communicator of a group of one: segments are still summed in order, so that its bits are
// those of larger groups.
#pragma once

#include <atomic>

#include "worker/parallel/communicator.h"

namespace quartet::parallel {

class SingleRankCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  absl::Status AllReduceSegments(device::Queue& queue, kernels::DevicePtr<const float> segments,
                                 int num_segments, int64_t count,
                                 kernels::DevicePtr<float> out) override;
  absl::Status GatherColumns(device::Queue& queue, kernels::DevicePtr<const float> part,
                             int64_t num_rows, int64_t cols,
                             kernels::DevicePtr<float> out) override;
  absl::Status Broadcast(void* data, int64_t bytes) override { return Check(); }
  void Abort() override { aborted_ = true; }

 private:
  absl::Status Check() const;

  std::atomic<bool> aborted_{false};
};

}  // namespace quartet::parallel
