// What the machine can do at best, measured in the same run as the kernels: products per second and
// bytes read per second.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quartet::bench {

// The processor's name from /proc/cpuinfo.
std::string MachineName();

// bf16 products by vdpbf16ps, floating-point operations per second over `num_threads` threads; 0 if
// the CPU has none.
double PeakBf16FlopsPerSecond(int num_threads);

// Bytes per second of `num_threads` threads that read `memory` once, with large strides between
// them.
double ReadBytesPerSecond(const char* memory, int64_t bytes, int num_threads);

// Seconds on the clock in use: wall time, or processor time of the whole process (with one thread
// on a busy machine, that shows the kernels and not the neighbours).
double Seconds();
void UseProcessorTime();

double Median(std::vector<double> values);

}  // namespace quartet::bench
