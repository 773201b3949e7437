#include "cli/cluster_plan.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

std::string Socket(const ClusterOptions& options, absl::string_view name) {
  return absl::StrCat("unix:", options.runtime_dir, "/", name, ".sock");
}

std::string WorkerSocket(const ClusterOptions& options, int group) {
  return Socket(options, group == 0 ? "worker" : absl::StrCat("worker-", group));
}

ProcessSpec PlanWorker(const ClusterOptions& options, int group, int rank) {
  std::vector<std::string> argv = CommandLine(options, "quartet-worker", kWorker);
  argv.push_back(absl::StrCat("--model=", options.model));
  argv.push_back(absl::StrCat("--rank=", rank));
  argv.push_back(absl::StrCat("--world_size=", options.tensor_parallel_size));
  argv.push_back(absl::StrCat("--local_ranks=", options.num_groups * options.tensor_parallel_size));
  if (rank == 0) argv.push_back(absl::StrCat("--tokenizer_address=", Socket(options, "tokenizer")));
  argv.push_back(
      absl::StrCat(rank == 0 ? "--address=" : "--leader_address=", WorkerSocket(options, group)));
  std::string name = absl::StrCat("worker rank ", rank);
  if (options.num_groups > 1) absl::StrAppend(&name, " of group ", group);
  return {std::move(name), std::move(argv)};
}

ProcessSpec PlanGateway(const ClusterOptions& options, int gateway) {
  const auto port = [gateway](int first) { return first == 0 ? 0 : first + gateway; };
  std::vector<std::string> leaders;
  for (int group = 0; group < options.num_groups; ++group) {
    leaders.push_back(WorkerSocket(options, group));
  }
  std::vector<std::string> argv = CommandLine(options, "quartet-gateway", kGateway);
  argv.push_back(absl::StrCat("--listen=", options.listen));
  argv.push_back(absl::StrCat("--http_port=", port(options.http_port)));
  argv.push_back(absl::StrCat("--grpc_port=", port(options.grpc_port)));
  argv.push_back(absl::StrCat("--tokenizer_address=", Socket(options, "tokenizer")));
  argv.push_back(absl::StrCat("--worker_address=", absl::StrJoin(leaders, ",")));
  argv.push_back(absl::StrCat("--announce_file=", AnnounceFile(options, gateway)));
  return {GatewayName(options, gateway), std::move(argv)};
}

}  // namespace

std::string AnnounceFile(const ClusterOptions& options, int gateway) {
  return absl::StrCat(options.runtime_dir, "/gateway",
                      gateway == 0 ? "" : absl::StrCat("-", gateway), ".json");
}

std::string GatewayName(const ClusterOptions& options, int gateway) {
  return options.num_gateways == 1 ? "gateway" : absl::StrCat("gateway ", gateway);
}

absl::Status CheckPorts(const ClusterOptions& options) {
  const int more = options.num_gateways - 1;
  for (const auto& [flag, port] :
       {std::pair("http_port", options.http_port), std::pair("grpc_port", options.grpc_port)}) {
    if (port == 0 || port + more <= 65535) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag, "=", port, " with --gateways=", options.num_gateways,
                     ": the last gateway's port would be ", port + more, ", beyond 65535"));
  }
  const int apart = std::abs(options.http_port - options.grpc_port);
  if (options.http_port == 0 || options.grpc_port == 0 || apart > more) return absl::OkStatus();
  if (apart == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--http_port and --grpc_port are both ", options.http_port, "; they need different ports"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--http_port=", options.http_port, " and --grpc_port=", options.grpc_port,
                   " are ", apart, " apart, but each of the ", options.num_gateways,
                   " gateways takes the next port of both; put ", "them at least ",
                   options.num_gateways, " apart"));
}

std::vector<StageSpec> PlanCluster(const ClusterOptions& options) {
  std::vector<std::string> tokenizer = CommandLine(options, "quartet-tokenizer", kTokenizer);
  tokenizer.push_back(absl::StrCat("--model=", options.model));
  tokenizer.push_back(absl::StrCat("--address=", Socket(options, "tokenizer")));

  int drain_ms = kDefaultDrainMs;
  const auto drain = options.service_flags.find("drain_timeout_ms");
  if (drain != options.service_flags.end()) {
    [[maybe_unused]] const bool is_number = absl::SimpleAtoi(drain->second, &drain_ms);
  }
  StageSpec workers{"workers", {}, std::chrono::seconds(10)};
  for (int group = 0; group < options.num_groups; ++group) {
    for (int rank = 0; rank < options.tensor_parallel_size; ++rank) {
      workers.processes.push_back(PlanWorker(options, group, rank));
    }
  }
  StageSpec gateways{options.num_gateways == 1 ? "gateway" : "gateways",
                     {},
                     std::chrono::milliseconds(drain_ms) + std::chrono::seconds(5)};
  for (int gateway = 0; gateway < options.num_gateways; ++gateway) {
    gateways.processes.push_back(PlanGateway(options, gateway));
  }
  return {StageSpec{"tokenizer", {{"tokenizer", std::move(tokenizer)}}, std::chrono::seconds(5)},
          std::move(workers), std::move(gateways)};
}

}  // namespace quartet::cli
