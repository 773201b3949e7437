// A whole gateway on free ports, in front of a fake tokenizer and a fake worker on Unix sockets.
#pragma once

#include <memory>
#include <string>

#include "gateway/control_service.h"
#include "gateway/gateway.h"
#include "gateway/http/routes.h"
#include "gateway/http/server.h"
#include "gateway/inference_service.h"
#include "gateway/testing/fake_services.h"
#include "gateway/tokenizer_client.h"
#include "gateway/worker_registry.h"

namespace quartet::gateway::testing {

class TestCluster {
 public:
  explicit TestCluster(GatewayOptions options = {}, http::HttpServerOptions http_options = {});
  ~TestCluster();

  FakeWorkerService& worker() { return worker_; }
  Gateway& gateway() { return *gateway_; }
  int http_port() const { return http_server_.port(); }
  std::string grpc_address() const;
  std::string worker_address() const { return SocketAddress("worker"); }

  void StartWorker();
  // As if the process died.
  void StopWorker();
  void StopTokenizer();
  // Waits until the gateway says so; false after kPatience.
  bool WaitForServing(bool serving) const;

 private:
  std::string SocketAddress(const char* name) const;

  const std::string directory_;
  FakeTokenizerService tokenizer_service_;
  FakeWorkerService worker_;
  std::unique_ptr<common::ServerRunner> tokenizer_server_;
  std::unique_ptr<common::ServerRunner> worker_server_;

  http::HttpServer http_server_;
  EventLoop loop_;
  Metrics metrics_;
  std::unique_ptr<TokenizerClient> tokenizer_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<WorkerRegistry> workers_;
  std::unique_ptr<InferenceService> inference_;
  std::unique_ptr<ControlService> control_;
  std::unique_ptr<http::Routes> routes_;
  std::unique_ptr<common::ServerRunner> grpc_server_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool serving_ = false;  // Guarded by mutex_.
};

}  // namespace quartet::gateway::testing
