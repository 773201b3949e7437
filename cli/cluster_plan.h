// Which processes a local cluster has, in which order they start, and their command lines.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace quartet::cli {

struct ProcessSpec {
  std::string name;  // as messages call it
  std::vector<std::string> argv;
};

// Processes that are stopped together.
struct StageSpec {
  std::string name;
  std::vector<ProcessSpec> processes;
  // From SIGTERM to SIGKILL.
  std::chrono::milliseconds stop_grace{10'000};
};

struct ClusterOptions {
  std::string binary_dir;
  std::string runtime_dir;  // sockets and the gateways' announcements
  std::string model;
  int num_groups = 1;  // worker groups
  int tensor_parallel_size = 1;
  int num_gateways = 1;
  std::string listen = "127.0.0.1";
  // Of gateway 0; gateway i has the i-th port after it. 0: each picks a free one.
  int http_port = 8080;
  int grpc_port = 50051;
  // Values of the flags in ServiceFlags() that the user gave, by name.
  std::map<std::string, std::string> service_flags;
};

// Where a gateway says on which ports it listens.
std::string AnnounceFile(const ClusterOptions& options, int gateway);
// As messages call it.
std::string GatewayName(const ClusterOptions& options, int gateway);

// INVALID_ARGUMENT naming the flags if the gateways' ports don't exist or collide.
absl::Status CheckPorts(const ClusterOptions& options);

// Tokenizer, workers, gateways: the order of starting. They are stopped in the reverse order.
std::vector<StageSpec> PlanCluster(const ClusterOptions& options);

}  // namespace quartet::cli
