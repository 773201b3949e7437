// Starts a gRPC server with health and reflection, and ends it in order. Also what every process of
// the cluster does at its start: signals and dying with its parent.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace quartet::common {

struct ServerOptions {
  // "unix:/path", "127.0.0.1:50051", "[::]:50051"; port 0 picks a free one.
  std::string address;
  // Largest message taken, bytes.
  int max_message_bytes = 64 << 20;
  // Full names of the services, e.g. "quartet.v1.Inference": grpc.health.v1 answers for each of
  // them and for "" alone.
  std::vector<std::string> service_names = {};
};

// Thread-safe.
class ServerRunner {
 public:
  // Listens and serves `services` (not owned; they must outlive the runner). Health starts as
  // NOT_SERVING for all names. Returns UNAVAILABLE with the address if it can't be bound.
  static absl::StatusOr<std::unique_ptr<ServerRunner>> Start(
      const ServerOptions& options, const std::vector<grpc::Service*>& services);
  ~ServerRunner();

  // The bound TCP port; 0 for a Unix socket.
  int port() const { return port_; }
  // Sets grpc.health.v1 for the server and all its services.
  void SetServing(bool serving);
  // Refuses new calls, waits up to `grace` for running ones, then cancels them. Idempotent.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  ServerRunner() = default;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> service_names_;
  int port_ = 0;
};

// Blocks SIGTERM and SIGINT in this thread and all threads started later. Call first in main.
void BlockTerminationSignals();
// Waits for SIGTERM or SIGINT, which must be blocked; returns the signal's number.
int WaitForTermination();
// Asks the kernel to send SIGTERM to this process when its parent dies; ends at once if it already
// has.
void DieWithParent(pid_t expected_parent);

}  // namespace quartet::common
