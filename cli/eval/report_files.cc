#include "cli/eval/report_files.h"

#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

absl::Status WriteFile(absl::string_view flag, const std::string& path, const std::string& text) {
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path);
  if ((file << text).flush()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("--", flag, "=", path, ": can't write it"));
}

}  // namespace

void AddCommonFlags(FlagSet* flags, CommonOptions* options) {
  flags->Add("address", &options->address, "Where the server's gRPC API is.");
  flags->Add("output", &options->output, "File for all results as JSON.");
  flags->Add("plot", &options->plot, "File for a plot as SVG.");
  flags->Add("concurrency", &options->concurrency, "Requests that run at the same time.");
}

absl::Status CheckAtLeast(absl::string_view name, int64_t value, int64_t low) {
  if (value >= low) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": must be at least ", low));
}

absl::StatusOr<std::string> ReadFile(absl::string_view from, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  // A directory opens, and gives nothing.
  if (!file || text.str().empty()) {
    return absl::NotFoundError(absl::StrCat(from, path, ": can't be read, or is empty"));
  }
  return text.str();
}

absl::Status CheckWritable(const CommonOptions& options) {
  RETURN_IF_ERROR(WriteFile("output", options.output, ""));
  return WriteFile("plot", options.plot, "");
}

absl::Status Publish(const Report& report, const CommonOptions& options) {
  std::printf("%s\n\n%s", report.method.c_str(), report.table.c_str());
  RETURN_IF_ERROR(WriteFile("output", options.output, report.json));
  return WriteFile("plot", options.plot, report.svg);
}

}  // namespace quartet::cli::eval
