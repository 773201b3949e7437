// One HTTP/1.1 request over a plain socket, enough to ask our own gateway whether it answers.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::cli {

struct HttpRequest {
  std::string host;  // a numeric address; 0.0.0.0 and :: mean this host
  int port = 0;
  std::string method = "GET";
  std::string path = "/";
  std::string body;  // JSON
};

struct HttpResponse {
  int status = 0;
  std::string body;
};

// Blocks for at most `timeout`, and gives up early with CANCELLED when `cancelled` (asked some
// times a second) says so. Returns UNAVAILABLE if nobody answers, DEADLINE_EXCEEDED, or INTERNAL if
// the answer is not HTTP.
absl::StatusOr<HttpResponse> Fetch(const HttpRequest& request, std::chrono::milliseconds timeout,
                                   const std::function<bool()>& cancelled);

// Status and body of a whole response of a connection that was then closed.
absl::StatusOr<HttpResponse> ParseHttpResponse(absl::string_view text);

}  // namespace quartet::cli
