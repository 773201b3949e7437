#include "common/server_runner.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <mutex>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::common {
namespace {

constexpr int kPingIntervalMs = 30'000;
constexpr int kPingTimeoutMs = 20'000;
constexpr int kMinClientPingIntervalMs = 1'000;

// Both are process-wide switches of gRPC and must be set before any server is built.
void EnableHealthAndReflection() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Keeps the library up until the process ends: taking it down with the last server can wait
    // ten seconds for a thread that polls.
    grpc_init();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

sigset_t TerminationSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerRunner>> ServerRunner::Start(
    const ServerOptions& options, const std::vector<grpc::Service*>& services) {
  EnableHealthAndReflection();
  std::unique_ptr<ServerRunner> runner(new ServerRunner());
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &runner->port_);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  // Without this a second process could share the port silently.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A stream may be silent for minutes, and what stands between drops connections that are: the
  // server pings, clients may ping as often as they like to (gRPC's default is every 5 minutes, and
  // then it hangs up), and a peer that has vanished is noticed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinClientPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  for (grpc::Service* service : services) builder.RegisterService(service);
  runner->server_ = builder.BuildAndStart();
  if (runner->server_ == nullptr) {
    return absl::UnavailableError(absl::StrCat("can't listen on ", options.address,
                                               ": is the port taken or the path not writable?"));
  }
  runner->service_names_ = options.service_names;
  runner->SetServing(false);
  return runner;
}

ServerRunner::~ServerRunner() { Shutdown(std::chrono::milliseconds(0)); }

void ServerRunner::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);
  for (const std::string& name : service_names_) health->SetServingStatus(name, serving);
}

void ServerRunner::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
}

void BlockTerminationSignals() {
  const sigset_t set = TerminationSignals();
  QUARTET_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

int WaitForTermination() {
  const sigset_t set = TerminationSignals();
  int signal_number = 0;
  QUARTET_CHECK(sigwait(&set, &signal_number) == 0);
  return signal_number;
}

void DieWithParent(pid_t expected_parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != expected_parent) kill(getpid(), SIGTERM);
}

}  // namespace quartet::common
