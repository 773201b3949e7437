// Runs a numbered list of jobs on a few threads.
#pragma once

#include <functional>

#include "absl/status/status.h"

namespace quartet::cli::eval {

// Calls `job` with 0 .. count - 1, at most `concurrency` at a time, and returns the first failure,
// after which no further job starts.
absl::Status ForEach(int count, int concurrency, const std::function<absl::Status(int)>& job);

}  // namespace quartet::cli::eval
