// What all evaluations share: the server's address, where results go, and how they get there.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "cli/flag_set.h"

namespace quartet::cli::eval {

struct CommonOptions {
  std::string address = "127.0.0.1:50051";
  std::string output;  // JSON file
  std::string plot;    // SVG file
  int64_t concurrency = 4;
};

struct Report {
  std::string method;  // sentences that say what was done
  std::string table;
  std::string json;
  std::string svg;
};

void AddCommonFlags(FlagSet* flags, CommonOptions* options);

// --NAME=VALUE must be at least `low`.
absl::Status CheckAtLeast(absl::string_view name, int64_t value, int64_t low);

// The whole file. NOT_FOUND names it and the flag or argument that it came by.
absl::StatusOr<std::string> ReadFile(absl::string_view from, const std::string& path);

// Opens the files before anything is asked, so that hours of work don't end with a path that can't
// be written.
absl::Status CheckWritable(const CommonOptions& options);

// Prints method and table, and writes the files asked for.
absl::Status Publish(const Report& report, const CommonOptions& options);

}  // namespace quartet::cli::eval
