#include "cli/http_client.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/child_process.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A wildcard address is where a server listens; the way to it is loopback.
std::string Reachable(const std::string& host) {
  if (host == "0.0.0.0" || host.empty()) return "127.0.0.1";
  if (host == "::" || host == "[::]") return "::1";
  return host;
}

struct Exchange {
  ScopedFd fd;
  Clock::time_point deadline;
  const std::function<bool()>& cancelled;

  // Waits for `events` on the socket.
  absl::Status WaitFor(short events) const {
    while (true) {
      if (cancelled()) return absl::CancelledError("cancelled");
      if (Clock::now() >= deadline) return absl::DeadlineExceededError("no answer in time");
      pollfd poll_fd{fd.get(), events, 0};
      if (poll(&poll_fd, 1, 100) > 0) return absl::OkStatus();
    }
  }
};

absl::Status Connect(const HttpRequest& request, Exchange* exchange) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string host = Reachable(request.host);
  if (getaddrinfo(host.c_str(), std::to_string(request.port).c_str(), &hints, &found) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(host, " is not a numeric address"));
  }
  exchange->fd.Reset(
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  const int result = connect(exchange->fd.get(), found->ai_addr, found->ai_addrlen);
  int error = result == 0 ? 0 : errno;
  freeaddrinfo(found);
  if (error == EINPROGRESS) {
    RETURN_IF_ERROR(exchange->WaitFor(POLLOUT));
    socklen_t size = sizeof(error);
    getsockopt(exchange->fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("can't connect to ", host, ":", request.port, ": ", strerror(error)));
}

absl::Status Send(absl::string_view text, Exchange* exchange) {
  while (!text.empty()) {
    RETURN_IF_ERROR(exchange->WaitFor(POLLOUT));
    const ssize_t n = send(exchange->fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return absl::UnavailableError("the connection broke");
    text.remove_prefix(static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HttpResponse> ParseHttpResponse(absl::string_view text) {
  HttpResponse response;
  const size_t head_end = text.find("\r\n\r\n");
  if (!absl::StartsWith(text, "HTTP/1.") || text.size() < 12 ||
      head_end == absl::string_view::npos ||
      !absl::SimpleAtoi(text.substr(9, 3), &response.status)) {
    return absl::InternalError(absl::StrCat("not an HTTP response: '", text.substr(0, 40), "'"));
  }
  response.body = std::string(text.substr(head_end + 4));
  return response;
}

absl::StatusOr<HttpResponse> Fetch(const HttpRequest& request, std::chrono::milliseconds timeout,
                                   const std::function<bool()>& cancelled) {
  Exchange exchange{ScopedFd(), Clock::now() + timeout, cancelled};
  RETURN_IF_ERROR(Connect(request, &exchange));
  RETURN_IF_ERROR(Send(
      absl::StrCat(request.method, " ", request.path, " HTTP/1.1\r\nHost: localhost:", request.port,
                   "\r\nContent-Type: application/json\r\nContent-Length: ", request.body.size(),
                   "\r\nConnection: close\r\n\r\n", request.body),
      &exchange));
  std::string answer;
  char buffer[4096];
  while (true) {
    RETURN_IF_ERROR(exchange.WaitFor(POLLIN));
    const ssize_t n = recv(exchange.fd.get(), buffer, sizeof(buffer), 0);
    if (n == 0) return ParseHttpResponse(answer);
    if (n < 0 && errno != EAGAIN) return absl::UnavailableError("the connection broke");
    answer.append(buffer, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
}

}  // namespace quartet::cli
