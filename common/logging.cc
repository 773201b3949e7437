#include "common/logging.h"

#include <unistd.h>

#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace quartet::common {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};

std::string& ProcessName() {
  static std::string* const name = new std::string("quartet");
  return *name;
}

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) return true;
  for (unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == 0x7f) return true;
  }
  return false;
}

}  // namespace

void SetLogProcessName(absl::string_view name) { ProcessName() = std::string(name); }

absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrCat("--log_level must be debug, info, warning or error, got '", name, "'"));
}

void SetLogLevel(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  constexpr absl::string_view kNames = "DIWE";
  std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()), " ",
                   kNames.substr(static_cast<size_t>(level), 1), " ", ProcessName(), " ", message);
  for (const LogField& field : fields) {
    const bool quotes = NeedsQuotes(field.value);
    absl::StrAppend(&line, " ", field.key, "=", quotes ? "\"" : "",
                    quotes ? absl::Utf8SafeCEscape(field.value) : field.value, quotes ? "\"" : "");
  }
  line += '\n';
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace quartet::common
