// `quartet serve`: a whole cluster on this machine. Reads the flags, plans the processes and lets a
// Supervisor run them.

#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/child_process.h"
#include "cli/cluster_plan.h"
#include "cli/commands.h"
#include "cli/default_model.h"
#include "cli/flag_set.h"
#include "cli/readiness_probe.h"
#include "cli/runtime_directory.h"
#include "cli/service_flags.h"
#include "cli/supervisor.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": must be from ", low, " to ", high));
}

struct ServeOptions {
  ClusterOptions cluster;
  SupervisorOptions supervisor;
};

absl::Status ParseHeartbeatTimeout(absl::string_view value, SupervisorOptions* options) {
  absl::Duration timeout;
  if (!absl::ParseDuration(value, &timeout) ||
      (timeout != absl::ZeroDuration() && timeout < absl::Seconds(2)) ||
      timeout > absl::Hours(24)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--heartbeat_timeout=", value,
                     ": must be a time like 10s, at least 2s because children beat once a second, "
                     "or 0 to let silent ones be"));
  }
  options->heartbeat_timeout = absl::ToChronoMilliseconds(timeout);
  return absl::OkStatus();
}

absl::StatusOr<ServeOptions> ParseServeFlags(const Arguments& arguments) {
  ServeOptions result;
  ClusterOptions& options = result.cluster;
  int64_t tensor_parallel_size = 1, groups = 1, gateways = 1, http_port = 8080, grpc_port = 50051;
  FlagSet flags(
      "serve", "[flags]",
      "Starts a tokenizer, one worker per rank and a gateway on this machine, starts "
      "again what dies or hangs, and stops all on Ctrl-C. Says on stdout when it answers.");
  flags.Add("model", &options.model, "Model folder or .gguf file. Default: the fetched SmolLM2.");
  flags.Add("tensor_parallel_size", &tensor_parallel_size, "Ranks that share the model.");
  flags.Add("groups", &groups, "Worker groups, each with the whole model.");
  flags.Add("gateways", &gateways,
            "Gateways before all groups; gateway i listens on the i-th port after the given ones.");
  flags.Add("heartbeat_timeout", false,
            "A process that is silent for so long is killed and started again; 0: never.", "10s",
            [&result](absl::string_view value) {
              return ParseHeartbeatTimeout(value, &result.supervisor);
            });
  flags.Add("listen", &options.listen, "Address of both ports; 0.0.0.0 opens them to others.");
  flags.Add("http_port", &http_port, "Port of the HTTP API; 0 picks a free one.");
  flags.Add("grpc_port", &grpc_port, "Port of the gRPC API; 0 picks a free one.");
  for (const ServiceFlag& flag : ServiceFlags()) {
    flags.Add(flag.name, flag.is_bool, flag.help, "",
              [&options, name = std::string(flag.name)](absl::string_view value) {
                options.service_flags[name] = std::string(value);
                return absl::OkStatus();
              });
  }
  for (const ServiceFlag& flag : OwnedServiceFlags()) {
    flags.Refuse(flag.name, "quartet serve sets this itself for the processes that it starts");
  }
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  if (!rest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", rest[0], "' is no flag; serve takes flags only, e.g. --model=PATH"));
  }
  RETURN_IF_ERROR(CheckRange("tensor_parallel_size", tensor_parallel_size, 1, 64));
  RETURN_IF_ERROR(CheckRange("groups", groups, 1, 64));
  RETURN_IF_ERROR(CheckRange("gateways", gateways, 1, 64));
  RETURN_IF_ERROR(CheckRange("http_port", http_port, 0, 65535));
  RETURN_IF_ERROR(CheckRange("grpc_port", grpc_port, 0, 65535));
  options.tensor_parallel_size = static_cast<int>(tensor_parallel_size);
  options.http_port = static_cast<int>(http_port);
  options.grpc_port = static_cast<int>(grpc_port);
  options.num_groups = static_cast<int>(groups);
  options.num_gateways = static_cast<int>(gateways);
  RETURN_IF_ERROR(CheckPorts(options));
  return result;
}

void AnnounceReady(const ClusterOptions& options, const std::vector<Endpoints>& endpoints,
                   Supervisor* supervisor) {
  supervisor->SetReady();
  for (size_t i = 0; i < endpoints.size(); ++i) {
    // A port that was picked freely must stay the same when the gateway is started again.
    const std::string name = GatewayName(options, static_cast<int>(i));
    supervisor->ReplaceArgument(name, "--http_port=", absl::StrCat(endpoints[i].http_port));
    supervisor->ReplaceArgument(name, "--grpc_port=", absl::StrCat(endpoints[i].grpc_port));
    if (i == 0) continue;
    std::printf("Gateway %d: HTTP port %d, gRPC port %d\n", static_cast<int>(i),
                endpoints[i].http_port, endpoints[i].grpc_port);
  }
  std::printf("gRPC is served on port %d\n", endpoints[0].grpc_port);
  std::printf("Inference server is ready on port %d\n", endpoints[0].http_port);
  std::fflush(stdout);
}

}  // namespace

absl::Status Serve(const Arguments& arguments) {
  ASSIGN_OR_RETURN(ServeOptions parsed, ParseServeFlags(arguments));
  ClusterOptions& options = parsed.cluster;
  ASSIGN_OR_RETURN(options.model, ResolveModel(options.model));
  ASSIGN_OR_RETURN(options.binary_dir, BinaryDirectory());
  Supervisor::BlockSignals();
  signal(SIGPIPE, SIG_IGN);
  common::SetLogProcessName("serve");
  ASSIGN_OR_RETURN(const auto runtime_directory, RuntimeDirectory::Create());
  options.runtime_dir = runtime_directory->path();
  common::LogInfo("starting", {{"model", options.model},
                               {"tensor_parallel_size", options.tensor_parallel_size},
                               {"groups", options.num_groups},
                               {"gateways", options.num_gateways},
                               {"runtime_dir", options.runtime_dir}});

  Supervisor supervisor(PlanCluster(options), parsed.supervisor);
  std::vector<std::string> announce_files;
  for (int i = 0; i < options.num_gateways; ++i) announce_files.push_back(AnnounceFile(options, i));
  ReadinessProbe probe(announce_files, options.listen);
  supervisor.Watch(probe.fd(), [&] { AnnounceReady(options, probe.TakeResult(), &supervisor); });
  const absl::Status status = supervisor.Run();
  if (status.ok()) common::LogInfo("all processes have ended");
  return status;
}

}  // namespace quartet::cli
