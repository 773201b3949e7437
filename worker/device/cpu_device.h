// The CPU as a device: operations run at once on a pool of threads.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/device/device.h"

namespace quartet::kernels::cpu {
struct PathCounters;
}

namespace quartet::device {

struct CpuDeviceOptions {
  // Threads that compute, the calling one included; 0 takes all cores the process may use.
  int num_threads = 0;
  // "auto", "avx512", "avx2" or "portable".
  std::string instruction_set = "auto";
  // Where the kernels count which paths they took, for tests; must outlive the device.
  kernels::cpu::PathCounters* path_counters = nullptr;
};

// Returns INVALID_ARGUMENT if the instruction set is unknown, FAILED_PRECONDITION if this CPU lacks
// it.
absl::StatusOr<std::unique_ptr<Device>> NewCpuDevice(const CpuDeviceOptions& options);

}  // namespace quartet::device
