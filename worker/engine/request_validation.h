// What the engine checks before it takes a sequence.
#pragma once

#include "absl/status/status.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/sequence.h"

namespace quartet::engine {

// Returns INVALID_ARGUMENT naming field and value if the request makes no sense for a model of
// `vocab_size` ids, or could never run with these options.
absl::Status ValidateRequest(const SequenceRequest& request, int64_t vocab_size,
                             const SchedulerOptions& options);

}  // namespace quartet::engine
