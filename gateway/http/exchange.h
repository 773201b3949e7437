// What a handler sees of HTTP: a request, and somewhere to put the answer. The server behind it is
// in server.cc.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"

namespace quartet::gateway::http {

struct HttpRequest {
  std::string method;
  // Without the query, which is what follows the question mark.
  std::string path;
  std::string query;
  // The headers of these names, or empty.
  std::string authorization;
  std::string x_tenant;
  std::string accept;
  std::string accept_encoding;
  std::string if_none_match;
  std::string x_request_id;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  // Beside Content-Type and what frames the body.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// One request and its answer. All functions but Post run on the connection's own strand: inside
// Handle, or inside a posted task. After the client has gone they do nothing.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual HttpRequest& request() = 0;

  // Any thread: runs `task` on the strand. Tasks run in the order of posting.
  virtual void Post(absl::AnyInvocable<void()> task) = 0;

  // Answers at once. What is written goes out when the task or Handle returns.
  virtual void Respond(HttpResponse response) = 0;
  // Or bit by bit: the head (its body is ignored), any number of writes, the end. `heartbeat` is
  // written when nothing else was for a while, so that the client and what stands between know that
  // the stream lives.
  virtual void StartStream(HttpResponse head, std::string heartbeat) = 0;
  virtual void Write(absl::string_view bytes) = 0;
  virtual void EndStream() = 0;

  // Called once if the client goes before its answer is complete.
  virtual void SetOnClosed(absl::AnyInvocable<void()> on_closed) = 0;
};

// Answers requests. Called on several threads at once, for different exchanges; must not block.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  virtual void Handle(std::shared_ptr<HttpExchange> exchange) = 0;
  // The answer to a request that the server itself refuses.
  virtual HttpResponse Refuse(int status, const std::string& message) = 0;
};

}  // namespace quartet::gateway::http
