// The subcommands of `quartet`. Each takes the arguments after its name and returns the process's
// exit code through absl::Status: OK is 0, INVALID_ARGUMENT 2, CANCELLED (help was asked for: the
// message is the help) 0, the rest 1.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace quartet::cli {

using Arguments = std::vector<std::string>;

absl::Status Serve(const Arguments& arguments);
absl::Status Supervise(const Arguments& arguments);
absl::Status Chat(const Arguments& arguments);
absl::Status Bench(const Arguments& arguments);
absl::Status Eval(const Arguments& arguments);
absl::Status Doctor(const Arguments& arguments);

}  // namespace quartet::cli
