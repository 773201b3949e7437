#include "cli/readiness_probe.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "cli/http_client.h"

namespace quartet::cli {
namespace {

using ::testing::HasSubstr;

HttpRequest Get(const std::string& host, int port) {
  HttpRequest request;
  request.host = host;
  request.port = port;
  return request;
}

// Answers each connection with the next of `responses`, then stops.
class CannedServer {
 public:
  explicit CannedServer(std::vector<std::string> responses) : responses_(std::move(responses)) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~CannedServer() {
    thread_.join();
    close(fd_);
  }
  int port() const { return port_; }
  const std::string& first_request() const { return first_request_; }

 private:
  void Serve() {
    for (const std::string& response : responses_) {
      const int connection = accept(fd_, nullptr, nullptr);
      char buffer[4096];
      const ssize_t n = read(connection, buffer, sizeof(buffer));
      if (first_request_.empty() && n > 0) first_request_.assign(buffer, static_cast<size_t>(n));
      EXPECT_EQ(write(connection, response.data(), response.size()),
                static_cast<ssize_t>(response.size()));
      close(connection);
    }
  }
  std::vector<std::string> responses_;
  std::string first_request_;
  int fd_ = -1;
  int port_ = 0;
  std::thread thread_;
};

TEST(ParseAnnouncementTest, ReadsBothPortsOrRefuses) {
  const auto endpoints = ParseAnnouncement(R"({"http_port": 81, "grpc_port": 82})");
  ASSERT_TRUE(endpoints.ok());
  EXPECT_EQ(endpoints->http_port, 81);
  EXPECT_EQ(endpoints->grpc_port, 82);
  // The file may be read while it is being written.
  for (const char* bad :
       {"", "{", "[]", R"({"http_port": 81})", R"({"http_port":"x","grpc_port":1})"}) {
    EXPECT_FALSE(ParseAnnouncement(bad).ok()) << bad;
  }
}

TEST(ParseHttpResponseTest, TakesStatusAndBody) {
  const auto response = ParseHttpResponse("HTTP/1.1 503 No\r\nA: b\r\n\r\nbody");
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->status, 503);
  EXPECT_EQ(response->body, "body");
  EXPECT_FALSE(ParseHttpResponse("").ok());
  EXPECT_FALSE(ParseHttpResponse("HTTP/1.1 xx0 \r\n\r\n").ok());
  EXPECT_FALSE(ParseHttpResponse("SSH-2.0-OpenSSH_9.2\r\n\r\n").ok());
}

TEST(FetchTest, SaysWhenNobodyListens) {
  int port = 0;
  {
    CannedServer server({});
    port = server.port();
  }
  const auto response =
      Fetch(Get("127.0.0.1", port), std::chrono::seconds(5), [] { return false; });
  EXPECT_TRUE(absl::IsUnavailable(response.status())) << response.status();
}

TEST(FetchTest, StopsWhenCancelled) {
  CannedServer silent({});  // listens, never answers
  int polls = 0;
  const auto response = Fetch(Get("0.0.0.0", silent.port()), std::chrono::seconds(60),
                              [&polls] { return ++polls > 3; });
  EXPECT_TRUE(absl::IsCancelled(response.status())) << response.status();
}

TEST(FetchTest, GivesUpInTime) {
  CannedServer silent({});
  const auto response =
      Fetch(Get("127.0.0.1", silent.port()), std::chrono::milliseconds(20), [] { return false; });
  EXPECT_TRUE(absl::IsDeadlineExceeded(response.status())) << response.status();
}

TEST(ReadinessProbeTest, SucceedsOnceARequestGoesThrough) {
  CannedServer server({"HTTP/1.1 503 Service Unavailable\r\n\r\n{}", "HTTP/1.1 200 OK\r\n\r\n{}"});
  const std::string file = ::testing::TempDir() + "/announce." + std::to_string(getpid());
  std::ofstream(file) << R"({"http_port":)" << server.port() << R"(,"grpc_port":7})";
  ReadinessProbe probe({file}, "127.0.0.1");
  pollfd fd{probe.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&fd, 1, 10'000), 1);
  const Endpoints endpoints = probe.TakeResult().at(0);
  EXPECT_EQ(endpoints.http_port, server.port());
  EXPECT_EQ(endpoints.grpc_port, 7);
  EXPECT_THAT(server.first_request(), HasSubstr("POST /v1/completions HTTP/1.1\r\n"));
  EXPECT_THAT(server.first_request(), HasSubstr("\"max_tokens\":1"));
  unlink(file.c_str());
}

TEST(ReadinessProbeTest, EndsWhileNothingAnswers) {
  ReadinessProbe probe({"/nonexistent/announce"}, "127.0.0.1");
}

}  // namespace
}  // namespace quartet::cli
