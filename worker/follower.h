// Ranks 1 and up: load their shard, join the leader's group, and run its plans.
#pragma once

#include "absl/status/status.h"
#include "worker/process_end.h"
#include "worker/worker_setup.h"

namespace quartet::worker_service {

// Returns OK if this process or the leader was told to stop, else why it can't go on. If a step
// hangs it ends the process, with exit code 1.
absl::Status RunFollowerProcess(const WorkerOptions& options, ProcessEnd* end);

}  // namespace quartet::worker_service
