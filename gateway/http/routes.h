// Which path is answered by what.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gateway/gateway.h"
#include "gateway/http/exchange.h"
#include "gateway/http/response_store.h"
#include "gateway/http/stored_chats.h"
#include "gateway/http/tokenize_call.h"
#include "gateway/http/web_page.h"
#include "gateway/metrics.h"

namespace quartet::gateway::http {

// Thread-safe. `gateway` and `metrics` outlive it.
class Routes : public HttpHandler {
 public:
  Routes(Gateway* gateway, Metrics* metrics);

  void Handle(std::shared_ptr<HttpExchange> exchange) override;
  HttpResponse Refuse(int status, const std::string& message) override;
  // The port of the gRPC face, for GET /cluster. Call it before requests come.
  void SetGrpcPort(int port) { grpc_port_ = port; }

  // "GET /v1/models" and so on: all that there is.
  static std::vector<std::string> Endpoints();

 private:
  struct Route;
  void Complete(std::shared_ptr<HttpExchange> exchange, bool chat);
  void CreateResponse(std::shared_ptr<HttpExchange> exchange);
  HttpResponse GetResponse(const HttpRequest& request) const;
  HttpResponse DeleteResponse(const HttpRequest& request);
  void Cluster(std::shared_ptr<HttpExchange> exchange);
  HttpResponse Home(const HttpRequest& request) const;
  // Respond, for calls that answer later.
  TokenizeCall::Respond Responder();
  HttpResponse Models() const;
  HttpResponse Model(const std::string& name) const;
  HttpResponse Health() const;
  HttpResponse Version() const;
  HttpResponse MetricsPage() const;
  // Answers and counts.
  void Respond(HttpExchange& exchange, HttpResponse response) const;

  Gateway* const gateway_;
  Metrics* const metrics_;
  StoredChats chats_;
  ResponseStore responses_;
  const absl::Time start_;  // When this began to serve.
  const WebPage page_;
  int grpc_port_ = 0;
};

}  // namespace quartet::gateway::http
