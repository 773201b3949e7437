// Exchange between the ranks of one group. Implementations: shared memory on one host; NCCL and TCP
// will follow.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/device_ptr.h"
#include "worker/device/device.h"

namespace quartet::parallel {

// All ranks call the same operations in the same order with the same counts. One thread at a time.
// Every call returns UNAVAILABLE naming the rank that it waited for if that rank does not come
// within the time limit, or ABORTED after Abort().
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Sums segments over all ranks in segment order: rank r holds segments [r, r + 1) * num_segments
  // of the world's num_segments * world_size. `out` gets ((s0 + s1) + s2) + ...: the same bits on
  // every rank and at every world size. `segments`: [num_segments, count] f32; `out`: [count] f32;
  // they don't overlap.
  virtual absl::Status AllReduceSegments(device::Queue& queue,
                                         kernels::DevicePtr<const float> segments, int num_segments,
                                         int64_t count, kernels::DevicePtr<float> out) = 0;

  // Rank 0 gets `out` [num_rows, cols * world_size] f32: row i is rank 0's row i, then rank 1's,
  // ... Others pass null for it.
  virtual absl::Status GatherColumns(device::Queue& queue, kernels::DevicePtr<const float> part,
                                     int64_t num_rows, int64_t cols,
                                     kernels::DevicePtr<float> out) = 0;

  // Rank 0's `bytes` bytes at `data`, in host memory, go to all ranks. They must fit into one
  // message: INVALID_ARGUMENT names the limit otherwise.
  virtual absl::Status Broadcast(void* data, int64_t bytes) = 0;

  // Makes waiting and later calls return ABORTED. Any thread.
  virtual void Abort() = 0;
  // The rank that a call waits for now, or -1. Any thread.
  virtual int waiting_for() const { return -1; }
};

}  // namespace quartet::parallel
