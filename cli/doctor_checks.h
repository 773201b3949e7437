// The checks behind `quartet doctor`, apart from where their facts come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::cli {

enum class Health { kGood, kSlow, kMissing };

struct Finding {
  Health health = Health::kGood;
  std::string subject;
  std::string text;
};

// What a processor needs: `cpuinfo` is /proc/cpuinfo's text.
Finding CheckProcessor(absl::string_view cpuinfo);
// `model_file_bytes` become bf16 weights; a Q4 file grows by about 3.6 times when unpacked.
Finding CheckMemory(int64_t available_bytes, int64_t model_file_bytes, bool is_quantised);
// MemAvailable of /proc/meminfo's text in bytes, 0 if it is not there.
int64_t AvailableMemory(absl::string_view meminfo);
// `setting` is the text of /sys/kernel/mm/transparent_hugepage/enabled.
Finding CheckHugePages(absl::string_view setting);

}  // namespace quartet::cli
