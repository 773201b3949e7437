// Which processes a local cluster has, in which order they start, and their command lines.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace quartet::cli {

struct ProcessSpec {
  std::string name;  // as messages call it
  std::vector<std::string> argv;
};

// Processes that only live together: if one dies, all are started again.
struct GroupSpec {
  std::string name;
  std::vector<ProcessSpec> processes;
  // From SIGTERM to SIGKILL.
  std::chrono::milliseconds stop_grace{10'000};
};

struct ClusterOptions {
  std::string binary_dir;
  std::string runtime_dir;  // sockets and the gateway's announcement
  std::string model;
  int tensor_parallel_size = 1;
  std::string listen = "127.0.0.1";
  int http_port = 8080;
  int grpc_port = 50051;
  // Values of the flags in ServiceFlags() that the user gave, by name.
  std::map<std::string, std::string> service_flags;
};

std::string AnnounceFile(const ClusterOptions& options);

// Tokenizer, workers, gateway: the order of starting. They are stopped in the reverse order.
std::vector<GroupSpec> PlanCluster(const ClusterOptions& options);

}  // namespace quartet::cli
