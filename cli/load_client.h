// Sends generation requests over gRPC and notes when each token comes. No thread per request.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/load_report.h"

namespace quartet::cli {

struct LoadOptions {
  std::string address = "127.0.0.1:50051";  // of the gRPC API, or http://HOST:PORT
  int num_requests = 100;
  // Open loop: requests arrive at this many a second, as a Poisson process, however many are still
  // running. 0: closed loop.
  double request_rate = 0;
  // Closed loop: so many requests run at any time.
  int concurrency = 8;
  int prompt_tokens = 128;
  int output_tokens = 128;
  bool ignore_eos = true;
  double temperature = 0;
  uint64_t seed = 0;
  // Then what still runs is broken off and no failure. 0: until all requests have ended. HTTP only.
  double duration_s = 0;
};

// Sends all requests and waits for their ends. UNAVAILABLE if the server can't be reached at all;
// requests that fail later are in the records.
absl::StatusOr<std::vector<RequestRecord>> RunLoad(const LoadOptions& options);

}  // namespace quartet::cli
