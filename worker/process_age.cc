#include "worker/process_age.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace quartet::worker_service {

absl::Duration ProcessAgeFrom(absl::string_view stat, int64_t ticks_per_second,
                              absl::Duration since_boot) {
  // The process's name, in brackets, may hold anything, brackets and blanks among it.
  const size_t end_of_name = stat.rfind(')');
  if (end_of_name == absl::string_view::npos) return absl::ZeroDuration();
  const std::vector<absl::string_view> fields =
      absl::StrSplit(stat.substr(end_of_name + 1), ' ', absl::SkipEmpty());
  // Field 22 of the file, where the first after the name is field 3.
  constexpr size_t kStartTime = 22 - 3;
  int64_t start_ticks = 0;
  if (fields.size() <= kStartTime || !absl::SimpleAtoi(fields[kStartTime], &start_ticks)) {
    return absl::ZeroDuration();
  }
  const absl::Duration start =
      absl::Seconds(static_cast<double>(start_ticks) / static_cast<double>(ticks_per_second));
  return std::max(absl::ZeroDuration(), since_boot - start);
}

absl::Duration ProcessAge() {
  std::ifstream file("/proc/self/stat");
  std::string stat;
  std::getline(file, stat);
  timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return ProcessAgeFrom(stat, sysconf(_SC_CLK_TCK), absl::DurationFromTimespec(now));
}

}  // namespace quartet::worker_service
