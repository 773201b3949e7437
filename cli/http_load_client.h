// The load of load_client.h over HTTP: streamed completions, all in one thread, some thousands of
// connections at once. Connections are used again, as client libraries do.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "cli/load_client.h"
#include "cli/load_report.h"

namespace quartet::cli {

// `options.address` is http://HOST:PORT with a numeric host. Prompts are common English words, one
// token each in most vocabularies. Returns UNAVAILABLE if nobody listens there; requests that fail
// later are in the records.
// SIGINT and SIGTERM end the run as options.duration_s does.
absl::StatusOr<std::vector<RequestRecord>> RunHttpLoad(const LoadOptions& options);

}  // namespace quartet::cli
