#include "cli/doctor_checks.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace quartet::cli {
namespace {

constexpr double kGigabyte = 1e9;
// bf16 takes 16 bits a weight, Q4_1 five, Q4_K and Q4_0 four and a half.
constexpr double kQuantisedGrowth = 16.0 / 4.5;
// KV cache, buffers and the other processes.
constexpr double kSpareBytes = 1e9;

bool HasWord(absl::string_view line, absl::string_view word) {
  for (absl::string_view part : absl::StrSplit(line, ' ')) {
    if (part == word) return true;
  }
  return false;
}

}  // namespace

Finding CheckProcessor(absl::string_view cpuinfo) {
  absl::string_view features;
  for (absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
    if (absl::StartsWith(line, "flags")) {
      features = line;
      break;
    }
  }
  if (HasWord(features, "avx512_bf16") && HasWord(features, "avx512f") &&
      HasWord(features, "avx512bw") && HasWord(features, "avx512vl")) {
    return {Health::kGood, "processor", "has AVX-512 with BF16: the fastest kernels run"};
  }
  if (HasWord(features, "avx2") && HasWord(features, "fma")) {
    return {Health::kSlow, "processor",
            "has AVX2 but no AVX-512 BF16: serves, at a part of the speed"};
  }
  return {Health::kSlow, "processor", "has no AVX2: the portable kernels run, which are slow"};
}

int64_t AvailableMemory(absl::string_view meminfo) {
  for (absl::string_view line : absl::StrSplit(meminfo, '\n')) {
    if (!absl::ConsumePrefix(&line, "MemAvailable:")) continue;
    line = absl::StripAsciiWhitespace(line);
    int64_t kilobytes = 0;
    if (absl::SimpleAtoi(line.substr(0, line.find(' ')), &kilobytes)) return kilobytes * 1024;
  }
  return 0;
}

Finding CheckMemory(int64_t available_bytes, int64_t model_file_bytes, bool is_quantised) {
  const double weights =
      static_cast<double>(model_file_bytes) * (is_quantised ? kQuantisedGrowth : 1.0);
  const double needed = weights + kSpareBytes;
  const std::string sums = absl::StrFormat(
      "%.1f GB free; the weights take about %.1f GB, KV cache and buffers at least %.1f GB",
      static_cast<double>(available_bytes) / kGigabyte, weights / kGigabyte,
      kSpareBytes / kGigabyte);
  if (static_cast<double>(available_bytes) >= needed) return {Health::kGood, "memory", sums};
  return {Health::kMissing, "memory", absl::StrCat(sums, ": too little")};
}

Finding CheckHugePages(absl::string_view setting) {
  if (absl::StrContains(setting, "[never]")) {
    return {Health::kSlow, "huge pages",
            "transparent huge pages are off, which costs memory bandwidth; as root: echo madvise > "
            "/sys/kernel/mm/transparent_hugepage/enabled"};
  }
  return {Health::kGood, "huge pages", "transparent huge pages can be used"};
}

}  // namespace quartet::cli
