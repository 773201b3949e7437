// Memory of the CPU device: zeroed anonymous pages, huge ones where the system grants them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "worker/device/device.h"

namespace quartet::device {

// Gives out memory from large regions, so that small matrices lie in huge pages too and none wastes
// the rest of one. A region is unmapped when everything in it is freed. Thread-safe.
class CpuMemoryAllocator {
 public:
  class Region;

  absl::StatusOr<std::unique_ptr<Memory>> Allocate(int64_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<Region> current_;  // guarded by mutex_
  int64_t current_used_ = 0;         // guarded by mutex_
};

}  // namespace quartet::device
