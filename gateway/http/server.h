// The HTTP/1.1 server: connections, limits, time-outs, streaming, and noticing that a client has
// gone. What is answered is the handler's affair.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "gateway/http/exchange.h"

namespace quartet::gateway::http {

struct HttpServerOptions {
  // An IP address.
  std::string listen = "127.0.0.1";
  // 0 picks a free one.
  int port = 0;
  int num_threads = 2;
  // Beyond: 413.
  size_t max_body_bytes = 32 << 20;
  // Beyond: 431.
  size_t max_header_bytes = 64 << 10;
  // Beyond: 503 and the connection ends.
  size_t max_connections = 20'000;
  // Unsent bytes of one stream, beyond which the client counts as gone.
  size_t max_unsent_bytes = 16 << 20;
  // For the next request on an open connection.
  std::chrono::milliseconds idle_timeout{75'000};
  // For a request's body to arrive, and for a write to make progress.
  std::chrono::milliseconds transfer_timeout{60'000};
  std::chrono::milliseconds heartbeat_interval{15'000};
};

// Every connection is a coroutine on one of a few threads. Must be destroyed after everything that
// may hold an exchange.
class HttpServer {
 public:
  explicit HttpServer(const HttpServerOptions& options);
  ~HttpServer();

  // Listens and starts the threads. Returns UNAVAILABLE with the address if it can't be bound.
  // `handler` must live until Stop.
  absl::Status Start(HttpHandler* handler);
  // The bound port. REQUIRES: Start succeeded.
  int port() const;
  // Accepts no more, gives answers under way up to `grace` to get out, and joins the threads.
  // Idempotent.
  void Stop(std::chrono::milliseconds grace);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace quartet::gateway::http
