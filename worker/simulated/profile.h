// What the simulated device knows of the hardware that it stands for. Profiles are JSON files;
// those in deploy/sim_profiles are built into the worker and can be named without a path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::simulated {

// deploy/sim_profiles/README.md says where the shipped numbers come from. All are of one GPU.
struct Profile {
  std::string description;
  int num_gpus = 1;                        // must equal the group's world size
  double memory_bytes = 0;                 // device memory, times the share of it that is used
  double memory_bytes_per_second = 0;      // reading device memory
  double flops_per_second = 0;             // matrix products in bytes_per_value, sums in fp32
  int bytes_per_value = 2;                 // of weights, activations, KV cache and gathered logits
  double collective_latency_s = 0;         // of an all-reduce or a gather of a few bytes
  double collective_bytes_per_second = 0;  // bytes of the message divided by time, for large ones
  double step_overhead_s = 0;              // per step: launches, sampling, reading the ids back
};

// `name_or_path`: the name of a shipped profile, or a file (anything with a '/' or a '.').
// Returns NOT_FOUND naming the shipped profiles, or INVALID_ARGUMENT with file, field, value and
// what was expected; a field that no profile has is refused.
absl::StatusOr<Profile> ReadProfile(const std::string& name_or_path);

// The same from text; `source` names it in messages.
absl::StatusOr<Profile> ParseProfile(absl::string_view text, absl::string_view source);

// Names of the shipped profiles, sorted.
std::vector<std::string> ShippedProfiles();

}  // namespace quartet::simulated
