#include "worker/device/cpu_resources.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

namespace quartet::device {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The file's first number, or nothing if it isn't there or says "max".
std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// The number after `key` in a file of lines "key number ...".
std::optional<int64_t> ReadField(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

// The process's control group (version 2) and its parents up to the root, as folders.
std::vector<std::string> ControlGroups(const std::string& proc, const std::string& sys) {
  const std::string root = sys + "/fs/cgroup";
  std::vector<std::string> groups = {root};
  std::ifstream file(proc + "/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) != 0) continue;
    std::string path = line.substr(3);
    while (path.size() > 1) {
      groups.push_back(root + path);
      path.resize(path.rfind('/'));
    }
  }
  return groups;
}

// What the group's limit leaves; file pages that can be dropped count as free.
int64_t LeftInGroup(const std::string& limit_path, const std::string& usage_path,
                    const std::string& stat_path, const std::string& inactive_key) {
  const std::optional<int64_t> limit = ReadNumber(limit_path);
  const std::optional<int64_t> usage = ReadNumber(usage_path);
  if (!limit.has_value() || !usage.has_value()) return kUnlimited;
  const int64_t inactive = ReadField(stat_path, inactive_key).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - inactive));
}

}  // namespace

int UsableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  int count = 1;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) count = std::max(1, CPU_COUNT(&cores));
  for (const std::string& group : ControlGroups("/proc", "/sys")) {
    std::ifstream file(group + "/cpu.max");
    int64_t quota = 0;
    int64_t period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) {
      count = std::min<int>(count, static_cast<int>(std::max<int64_t>(1, quota / period)));
    }
  }
  return count;
}

int64_t AvailableMemoryBytes(const std::string& proc, const std::string& sys) {
  const std::optional<int64_t> kib = ReadField(proc + "/meminfo", "MemAvailable:");
  int64_t available = kib.has_value() ? *kib * 1024 : kUnlimited;
  for (const std::string& group : ControlGroups(proc, sys)) {
    available = std::min(available, LeftInGroup(group + "/memory.max", group + "/memory.current",
                                                group + "/memory.stat", "inactive_file"));
  }
  const std::string v1 = sys + "/fs/cgroup/memory/memory";
  return std::min(available, LeftInGroup(v1 + ".limit_in_bytes", v1 + ".usage_in_bytes",
                                         v1 + ".stat", "total_inactive_file"));
}

}  // namespace quartet::device
