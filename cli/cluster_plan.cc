#include "cli/cluster_plan.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/service_flags.h"

namespace quartet::cli {
namespace {

// The gateway's own default of --drain_timeout_ms, used to tell when it is overdue.
constexpr int kDefaultDrainMs = 10'000;

std::vector<std::string> CommandLine(const ClusterOptions& options, const char* binary,
                                     Service service) {
  std::vector<std::string> argv = {absl::StrCat(options.binary_dir, "/", binary),
                                   "--die_with_parent"};
  for (const ServiceFlag& flag : ServiceFlags()) {
    const auto given = options.service_flags.find(std::string(flag.name));
    if ((flag.services & service) == 0 || given == options.service_flags.end()) continue;
    argv.push_back(absl::StrCat("--", flag.name, "=", given->second));
  }
  return argv;
}

std::string Socket(const ClusterOptions& options, const char* name) {
  return absl::StrCat("unix:", options.runtime_dir, "/", name, ".sock");
}

GroupSpec PlanWorkers(const ClusterOptions& options) {
  GroupSpec group{"workers", {}, std::chrono::seconds(10)};
  for (int rank = 0; rank < options.tensor_parallel_size; ++rank) {
    std::vector<std::string> argv = CommandLine(options, "quartet-worker", kWorker);
    argv.push_back(absl::StrCat("--model=", options.model));
    argv.push_back(absl::StrCat("--rank=", rank));
    argv.push_back(absl::StrCat("--world_size=", options.tensor_parallel_size));
    argv.push_back(
        absl::StrCat(rank == 0 ? "--address=" : "--leader_address=", Socket(options, "worker")));
    group.processes.push_back({absl::StrCat("worker rank ", rank), std::move(argv)});
  }
  return group;
}

}  // namespace

std::string AnnounceFile(const ClusterOptions& options) {
  return absl::StrCat(options.runtime_dir, "/gateway.json");
}

std::vector<GroupSpec> PlanCluster(const ClusterOptions& options) {
  std::vector<std::string> tokenizer = CommandLine(options, "quartet-tokenizer", kTokenizer);
  tokenizer.push_back(absl::StrCat("--model=", options.model));
  tokenizer.push_back(absl::StrCat("--address=", Socket(options, "tokenizer")));

  std::vector<std::string> gateway = CommandLine(options, "quartet-gateway", kGateway);
  gateway.push_back(absl::StrCat("--listen=", options.listen));
  gateway.push_back(absl::StrCat("--http_port=", options.http_port));
  gateway.push_back(absl::StrCat("--grpc_port=", options.grpc_port));
  gateway.push_back(absl::StrCat("--tokenizer_address=", Socket(options, "tokenizer")));
  gateway.push_back(absl::StrCat("--worker_address=", Socket(options, "worker")));
  gateway.push_back(absl::StrCat("--announce_file=", AnnounceFile(options)));

  int drain_ms = kDefaultDrainMs;
  const auto drain = options.service_flags.find("drain_timeout_ms");
  if (drain != options.service_flags.end()) {
    [[maybe_unused]] const bool is_number = absl::SimpleAtoi(drain->second, &drain_ms);
  }
  return {
      GroupSpec{"tokenizer", {{"tokenizer", std::move(tokenizer)}}, std::chrono::seconds(5)},
      PlanWorkers(options),
      GroupSpec{"gateway",
                {{"gateway", std::move(gateway)}},
                std::chrono::milliseconds(drain_ms) + std::chrono::seconds(5)},
  };
}

}  // namespace quartet::cli
