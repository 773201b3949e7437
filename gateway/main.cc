// quartet-gateway: the public faces (gRPC and OpenAI's HTTP) in front of a tokenizer service and
// worker groups.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/heartbeat.h"
#include "common/logging.h"
#include "common/program.h"
#include "common/server_runner.h"
#include "common/status_macros.h"
#include "gateway/control_service.h"
#include "gateway/dns_resolver.h"
#include "gateway/gateway.h"
#include "gateway/http/routes.h"
#include "gateway/http/server.h"
#include "gateway/inference_service.h"
#include "gateway/tokenizer_client.h"
#include "gateway/worker_registry.h"

ABSL_FLAG(std::string, listen, "127.0.0.1", "IP address that both faces listen on.");
ABSL_FLAG(int, http_port, 8080, "Port of the HTTP face; 0 picks a free one.");
ABSL_FLAG(int, grpc_port, 50051, "Port of the gRPC face; 0 picks a free one.");
ABSL_FLAG(int, http_threads, 2, "Threads of the HTTP face.");
ABSL_FLAG(std::string, tokenizer_address, "", "gRPC address of the tokenizer service. Required.");
ABSL_FLAG(std::string, worker_address, "",
          "gRPC addresses of the worker groups' leaders, comma separated; an entry "
          "dns:///name:port stands for all addresses of the name, asked for again every few "
          "seconds. Required.");
ABSL_FLAG(std::string, model_name, "",
          "Names that clients may send as \"model\", comma separated; answers carry the first. "
          "Default: the worker's own.");
ABSL_FLAG(std::string, announce_file, "",
          "Written once both faces listen: {\"http_port\":N,\"grpc_port\":M}.");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warning or error.");
ABSL_FLAG(
    int, heartbeat_fd, -1,
    "File descriptor of a pipe that gets a byte a second while the process is well; -1: none. "
    "`quartet serve` passes it.");
ABSL_FLAG(bool, die_with_parent, false, "End when the parent process ends.");
ABSL_FLAG(int, max_inflight_requests, 4096, "Requests in the gateway at once; beyond it 429.");
ABSL_FLAG(int64_t, max_inflight_prompt_tokens, 16 << 20,
          "Prompt tokens of all requests in the gateway together; beyond it 429.");
ABSL_FLAG(
    double, max_group_imbalance, 1.25,
    "A worker group with more than this many times its even share of sequences is passed over, "
    "even if it holds a prompt's prefix in its cache.");
ABSL_FLAG(double, resume_timeout, 60,
          "Seconds that a stream whose worker is lost waits for one that can go on with it.");
ABSL_FLAG(int, header_hold_ms, 5000,
          "How long the status of a streamed answer is held for the first token.");
ABSL_FLAG(int, drain_timeout_ms, 10'000, "How long running requests may go on after SIGTERM.");

namespace quartet::gateway {
namespace {

struct Options {
  GatewayOptions gateway;
  http::HttpServerOptions http;
  std::string grpc_address;
  std::string tokenizer_address;
  WorkerTargets workers;
  std::string announce_file;
  common::LogLevel log_level = common::LogLevel::kInfo;
  bool die_with_parent = false;
  int heartbeat_fd = -1;
  absl::Duration drain_timeout;
};

std::vector<std::string> SplitList(const std::string& text) {
  return absl::StrSplit(text, ',', absl::SkipWhitespace());
}

absl::Status CheckAtLeast(const char* flag, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " must be at least ", least, ", got ", value));
}

absl::Status CheckPort(const char* flag, int port) {
  if (port >= 0 && port <= 65535) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " must be in [0, 65535], got ", port));
}

absl::StatusOr<Options> OptionsFromFlags() {
  Options options;
  RETURN_IF_ERROR(CheckPort("http_port", absl::GetFlag(FLAGS_http_port)));
  RETURN_IF_ERROR(CheckPort("grpc_port", absl::GetFlag(FLAGS_grpc_port)));
  RETURN_IF_ERROR(CheckAtLeast("http_threads", absl::GetFlag(FLAGS_http_threads), 1));
  RETURN_IF_ERROR(
      CheckAtLeast("max_inflight_requests", absl::GetFlag(FLAGS_max_inflight_requests), 1));
  RETURN_IF_ERROR(CheckAtLeast("max_inflight_prompt_tokens",
                               absl::GetFlag(FLAGS_max_inflight_prompt_tokens), 1));
  if (!(absl::GetFlag(FLAGS_max_group_imbalance) >= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--max_group_imbalance must be at least 1, got ",
                                                   absl::GetFlag(FLAGS_max_group_imbalance)));
  }
  if (!(absl::GetFlag(FLAGS_resume_timeout) >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("--resume_timeout must be at least 0, got ",
                                                   absl::GetFlag(FLAGS_resume_timeout)));
  }
  RETURN_IF_ERROR(CheckAtLeast("header_hold_ms", absl::GetFlag(FLAGS_header_hold_ms), 0));
  RETURN_IF_ERROR(CheckAtLeast("drain_timeout_ms", absl::GetFlag(FLAGS_drain_timeout_ms), 0));
  ASSIGN_OR_RETURN(options.log_level, common::ParseLogLevel(absl::GetFlag(FLAGS_log_level)));
  options.gateway.model_names = SplitList(absl::GetFlag(FLAGS_model_name));
  options.gateway.max_inflight_requests = absl::GetFlag(FLAGS_max_inflight_requests);
  options.gateway.max_inflight_prompt_tokens = absl::GetFlag(FLAGS_max_inflight_prompt_tokens);
  options.gateway.router.max_imbalance = absl::GetFlag(FLAGS_max_group_imbalance);
  options.gateway.router.seed = std::random_device()();
  options.gateway.resume_timeout = absl::Seconds(absl::GetFlag(FLAGS_resume_timeout));
  options.gateway.started_hold = absl::Milliseconds(absl::GetFlag(FLAGS_header_hold_ms));
  options.http.listen = absl::GetFlag(FLAGS_listen);
  options.http.port = absl::GetFlag(FLAGS_http_port);
  options.http.num_threads = absl::GetFlag(FLAGS_http_threads);
  const bool ipv6 = options.http.listen.find(':') != std::string::npos;
  options.grpc_address = absl::StrCat(ipv6 ? "[" : "", options.http.listen, ipv6 ? "]:" : ":",
                                      absl::GetFlag(FLAGS_grpc_port));
  options.tokenizer_address = absl::GetFlag(FLAGS_tokenizer_address);
  const std::vector<std::string> workers = SplitList(absl::GetFlag(FLAGS_worker_address));
  if (options.tokenizer_address.empty() || workers.empty()) {
    return absl::InvalidArgumentError(
        "--tokenizer_address and --worker_address are required; `quartet serve` passes both");
  }
  ASSIGN_OR_RETURN(options.workers, ParseWorkerTargets(workers));
  options.announce_file = absl::GetFlag(FLAGS_announce_file);
  options.die_with_parent = absl::GetFlag(FLAGS_die_with_parent);
  options.heartbeat_fd = absl::GetFlag(FLAGS_heartbeat_fd);
  options.drain_timeout = absl::Milliseconds(absl::GetFlag(FLAGS_drain_timeout_ms));
  return options;
}

// No other gateway's, on this host or another: containers often all have pid 1.
std::string DrawGatewayId() {
  char host[256] = "host";
  gethostname(host, sizeof host - 1);
  return absl::StrCat("gateway-", host, "-", getpid(), "-", absl::Hex(std::random_device()()));
}

// Thousands of open streams are thousands of file descriptors.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Whoever waits for the file sees it whole or not at all.
absl::Status Announce(const std::string& path, int http_port, int grpc_port) {
  if (path.empty()) return absl::OkStatus();
  const std::string temporary = absl::StrCat(path, ".", getpid());
  std::ofstream file(temporary);
  file << "{\"http_port\":" << http_port << ",\"grpc_port\":" << grpc_port << "}\n";
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("can't write --announce_file=", path));
  }
  return absl::OkStatus();
}

// The event loop, as the heartbeat sees it: each question posts a task, which must run in time.
class LoopProbe {
 public:
  explicit LoopProbe(EventLoop* loop) : loop_(loop) {}

  bool IsWell() {
    if (!is_open_->exchange(true)) {
      monitor_->Turned();
      loop_->Post([is_open = is_open_] { *is_open = false; });
    }
    return monitor_->IsWell(kLoopLimit);
  }

 private:
  // No task of the loop takes a fraction of this.
  static constexpr std::chrono::seconds kLoopLimit{20};
  EventLoop* const loop_;
  // Shared with tasks that may outlive this.
  const std::shared_ptr<std::atomic<bool>> is_open_ = std::make_shared<std::atomic<bool>>(false);
  const std::unique_ptr<common::LoopMonitor> monitor_ = std::make_unique<common::LoopMonitor>();
};

absl::Status Run(const Options& options) {
  RaiseFileLimit();
  // In this order, so that each is destroyed before what it stands on: answers under way live in
  // the HTTP server's context.
  http::HttpServer http_server(options.http);
  EventLoop loop;
  LoopProbe loop_probe(&loop);
  const common::Heartbeat heartbeat(options.heartbeat_fd,
                                    [&loop_probe] { return loop_probe.IsWell(); });
  Metrics metrics;
  TokenizerClient tokenizer(options.tokenizer_address, &loop);
  Gateway gateway(options.gateway, &loop, &tokenizer, &metrics);
  DnsResolver resolver(&loop);
  WorkerRegistry workers(options.workers, DrawGatewayId(), &loop, &gateway, &resolver);
  InferenceService inference(&gateway);
  ControlService control(&gateway);
  http::Routes routes(&gateway, &metrics);

  common::ServerOptions server_options;
  server_options.address = options.grpc_address;
  server_options.service_names = {v1::Inference::service_full_name(),
                                  v1::Control::service_full_name()};
  ASSIGN_OR_RETURN(const std::unique_ptr<common::ServerRunner> grpc_server,
                   common::ServerRunner::Start(server_options, {&inference, &control}));
  routes.SetGrpcPort(grpc_server->port());
  RETURN_IF_ERROR(http_server.Start(&routes));
  gateway.SetServingListener([&grpc_server](bool serving) { grpc_server->SetServing(serving); });
  tokenizer.Start([&gateway, &workers](std::optional<TokenizerInfo> info) {
    gateway.OnTokenizer(info);
    if (info.has_value()) workers.SetTokenizer(*info);
  });
  const absl::Status announced =
      Announce(options.announce_file, http_server.port(), grpc_server->port());
  if (announced.ok()) {
    common::LogInfo("listening", {{"address", options.http.listen},
                                  {"http_port", http_server.port()},
                                  {"grpc_port", grpc_server->port()}});
    const int signal_number = common::WaitForTermination();
    common::LogInfo("shutting down", {{"signal", signal_number}});
    gateway.Drain(options.drain_timeout);
  }
  grpc_server->Shutdown(std::chrono::milliseconds(500));
  http_server.Stop(std::chrono::milliseconds(500));
  loop.Stop();
  return announced;
}

}  // namespace
}  // namespace quartet::gateway

int main(int argc, char** argv) {
  namespace common = quartet::common;
  common::BlockTerminationSignals();
  common::ConfigureProgram("The public faces of a Quartet cluster.");
  absl::ParseCommandLine(argc, argv);
  common::SetLogProcessName("gateway");
  const auto options = quartet::gateway::OptionsFromFlags();
  if (!options.ok()) {
    common::LogError(std::string(options.status().message()));
    return 2;
  }
  common::SetLogLevel(options->log_level);
  if (options->die_with_parent) common::DieWithParent(getppid());
  const absl::Status status = quartet::gateway::Run(*options);
  if (status.ok()) return 0;
  common::LogError(std::string(status.message()));
  return 1;
}
