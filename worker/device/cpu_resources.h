// What this process may use of the machine: cores and memory, within its affinity mask and its
// control group.
#pragma once

#include <cstdint>
#include <string>

namespace quartet::device {

// Cores in the affinity mask, or fewer if the control group's quota says so; at least 1.
int UsableCores();

// Memory that could still be taken without swapping; the control group's limit counts.
// `proc` and `sys` are where those file systems are mounted; tests give others.
int64_t AvailableMemoryBytes(const std::string& proc = "/proc", const std::string& sys = "/sys");

}  // namespace quartet::device
