// Structured log lines on stderr: time, level, process, message, then key=value fields.
//   common::LogInfo("sequence finished", {{"request_id", id}, {"tokens", n}});
// Thread-safe; one write(2) a line, so that lines of several processes do not mix.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace quartet::common {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// One key=value of a log line. Values are anything that absl::AlphaNum takes.
struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value) : key(key), value(value.Piece()) {}
  absl::string_view key;
  std::string value;
};

// Names this process in every line, e.g. "worker-0". Call once, before other threads start.
void SetLogProcessName(absl::string_view name);
// Lines below `level` are dropped. Default: kInfo.
void SetLogLevel(LogLevel level);
// The value of a --log_level flag: "debug", "info", "warning" or "error"; else INVALID_ARGUMENT.
absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name);

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

inline void LogDebug(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kDebug, message, fields);
}
inline void LogInfo(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, message, fields);
}

}  // namespace quartet::common
