// `quartet serve`: a whole cluster on this machine. Reads the flags, plans the processes and lets a
// Supervisor run them.

#include <signal.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
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

absl::StatusOr<ClusterOptions> ParseServeFlags(const Arguments& arguments) {
  ClusterOptions options;
  int64_t tensor_parallel_size = 1, http_port = 8080, grpc_port = 50051;
  FlagSet flags("serve", "[flags]",
                "Starts a tokenizer, one worker per rank and a gateway on this machine, starts "
                "again what dies, and stops "
                "all on Ctrl-C. Says on stdout when it answers.");
  flags.Add("model", &options.model, "Model folder or .gguf file. Default: the fetched SmolLM2.");
  flags.Add("tensor_parallel_size", &tensor_parallel_size, "Ranks that share the model.");
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
  RETURN_IF_ERROR(CheckRange("http_port", http_port, 0, 65535));
  RETURN_IF_ERROR(CheckRange("grpc_port", grpc_port, 0, 65535));
  if (http_port != 0 && http_port == grpc_port) {
    return absl::InvalidArgumentError(absl::StrCat("--http_port and --grpc_port are both ",
                                                   http_port, "; they need different ports"));
  }
  options.tensor_parallel_size = static_cast<int>(tensor_parallel_size);
  options.http_port = static_cast<int>(http_port);
  options.grpc_port = static_cast<int>(grpc_port);
  return options;
}

void AnnounceReady(const Endpoints& endpoints, Supervisor* supervisor) {
  supervisor->SetReady();
  // A port that was picked freely must stay the same when the gateway is started again.
  supervisor->ReplaceArgument("gateway", "--http_port=", absl::StrCat(endpoints.http_port));
  supervisor->ReplaceArgument("gateway", "--grpc_port=", absl::StrCat(endpoints.grpc_port));
  std::printf("gRPC is served on port %d\n", endpoints.grpc_port);
  std::printf("Inference server is ready on port %d\n", endpoints.http_port);
  std::fflush(stdout);
}

}  // namespace

absl::Status Serve(const Arguments& arguments) {
  ASSIGN_OR_RETURN(ClusterOptions options, ParseServeFlags(arguments));
  ASSIGN_OR_RETURN(options.model, ResolveModel(options.model));
  ASSIGN_OR_RETURN(options.binary_dir, BinaryDirectory());
  Supervisor::BlockSignals();
  signal(SIGPIPE, SIG_IGN);
  common::SetLogProcessName("serve");
  ASSIGN_OR_RETURN(const auto runtime_directory, RuntimeDirectory::Create());
  options.runtime_dir = runtime_directory->path();
  common::LogInfo("starting", {{"model", options.model},
                               {"tensor_parallel_size", options.tensor_parallel_size},
                               {"runtime_dir", options.runtime_dir}});

  Supervisor supervisor(PlanCluster(options), SupervisorOptions());
  ReadinessProbe probe(AnnounceFile(options), options.listen);
  supervisor.Watch(probe.fd(), [&] { AnnounceReady(probe.TakeResult(), &supervisor); });
  const absl::Status status = supervisor.Run();
  if (status.ok()) common::LogInfo("all processes have ended");
  return status;
}

}  // namespace quartet::cli
