// The HTTP server under a handler of a few lines: framing, limits and connections.
#include "gateway/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "absl/strings/str_cat.h"
#include "gateway/testing/http_client.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway::http {
namespace {

using testing::ClientResponse;
using testing::Fetch;
using ::testing::HasSubstr;
using testing::HttpConnection;

// Answers with what it got; /stream with two writes; /flood with more than fits; /wait never.
class EchoHandler : public HttpHandler {
 public:
  std::promise<void> closed;

  void Handle(std::shared_ptr<HttpExchange> exchange) override {
    HttpResponse response;
    response.content_type = "text/plain";
    const HttpRequest& request = exchange->request();
    if (request.path == "/wait") {
      exchange->SetOnClosed([this] { closed.set_value(); });
      held_ = exchange;
      return;
    }
    if (request.path == "/flood") {
      exchange->SetOnClosed([this] { closed.set_value(); });
      exchange->StartStream(response, "");
      for (int i = 0; i < 64; ++i) exchange->Write(std::string(1 << 20, 'x'));
      return;
    }
    if (request.path == "/stream") {
      exchange->StartStream(response, ": beat\n\n");
      exchange->Write("one");
      exchange->Post([exchange] {
        exchange->Write("two");
        exchange->EndStream();
      });
      return;
    }
    if (request.path == "/beat") {
      exchange->StartStream(response, "beat");
      held_ = exchange;
      return;
    }
    response.body = absl::StrCat(request.method, " ", request.path, " ", request.body.size());
    exchange->Respond(std::move(response));
  }
  HttpResponse Refuse(int status, const std::string& message) override {
    return {status, "text/plain", {}, message};
  }
  void Release() { held_.reset(); }

 private:
  std::shared_ptr<HttpExchange> held_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : server_(Options()) { EXPECT_TRUE(server_.Start(&handler_).ok()); }
  ~HttpServerTest() override {
    server_.Stop(std::chrono::milliseconds(0));
    handler_.Release();
  }
  static HttpServerOptions Options() {
    HttpServerOptions options;
    options.max_body_bytes = 1 << 20;
    options.max_header_bytes = 4096;
    options.heartbeat_interval = std::chrono::milliseconds(20);
    return options;
  }
  HttpServer server_;
  EchoHandler handler_;
};

TEST_F(HttpServerTest, KeepsConnectionsOpen) {
  HttpConnection connection(server_.port());
  for (int i = 0; i < 3; ++i) {
    connection.Send("POST", "/a?b=c", "xyz");
    const ClientResponse response = connection.Receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "POST /a 3");
  }
  connection.Send("POST", "/stream");
  EXPECT_EQ(connection.Receive().body, "onetwo");
  connection.Send("GET", "/again");
  EXPECT_EQ(connection.Receive().body, "GET /again 0");
}

TEST_F(HttpServerTest, AnswersRequestsSentAtOnceInOrder) {
  HttpConnection connection(server_.port());
  connection.SendRaw("GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(connection.Receive().body, "GET /1 0");
  EXPECT_EQ(connection.Receive().body, "GET /2 0");
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  HttpConnection connection(server_.port());
  connection.Send("HEAD", "/a");
  EXPECT_EQ(connection.Receive(/*head_only=*/true).headers["content-length"], "9");
  connection.Send("GET", "/b");
  EXPECT_EQ(connection.Receive().body, "GET /b 0");
}

TEST_F(HttpServerTest, ClosesWhenAsked) {
  HttpConnection connection(server_.port());
  connection.SendRaw("GET /a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(connection.Receive().headers["connection"], "close");
  EXPECT_TRUE(connection.AtEnd());
}

TEST_F(HttpServerTest, TakesChunkedBodiesAndExpect) {
  HttpConnection connection(server_.port());
  connection.SendRaw(
      "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(connection.Receive().body, "POST /a 5");
  connection.SendRaw(
      "POST /a HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(connection.Receive(/*head_only=*/true).status, 100);
  connection.SendRaw("hi");
  EXPECT_EQ(connection.Receive().body, "POST /a 2");
}

TEST_F(HttpServerTest, RefusesWhatIsTooLargeOrNotHttp) {
  ClientResponse response = Fetch(server_.port(), "POST", "/a", std::string(3 << 20, 'x'));
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(response.body, HasSubstr("1048576 bytes"));
  {
    HttpConnection chunked(server_.port());
    chunked.SendRaw("POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n");
    chunked.SendRaw(std::string(0x200000, 'x'));
    EXPECT_EQ(chunked.Receive().status, 413);
  }
  {
    HttpConnection headers(server_.port());
    headers.SendRaw(absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(8192, 'x'), "\r\n\r\n"));
    EXPECT_EQ(headers.Receive().status, 431);
  }
  {
    HttpConnection garbage(server_.port());
    garbage.SendRaw("\x16\x03\x01 this is no HTTP\r\n\r\n");
    EXPECT_EQ(garbage.Receive().status, 400);
    EXPECT_TRUE(garbage.AtEnd());
  }
  EXPECT_EQ(Fetch(server_.port(), "GET", "/ok").status, 200);
}

TEST_F(HttpServerTest, NoticesThatAClientHasGone) {
  HttpConnection connection(server_.port());
  connection.Send("GET", "/wait");
  connection.Close();
  EXPECT_EQ(handler_.closed.get_future().wait_for(testing::kPatience), std::future_status::ready);
}

TEST_F(HttpServerTest, GivesUpAClientThatDoesNotRead) {
  HttpConnection connection(server_.port());
  connection.Send("GET", "/flood");
  EXPECT_EQ(handler_.closed.get_future().wait_for(testing::kPatience), std::future_status::ready);
}

TEST_F(HttpServerTest, SendsHeartbeatsOnAQuietStream) {
  HttpConnection connection(server_.port());
  connection.SendRaw("GET /beat HTTP/1.0\r\n\r\n");
  EXPECT_EQ(connection.ReceiveHead().headers["connection"], "close");
  EXPECT_FALSE(connection.AtEnd());
}

TEST(HttpServerIdleTest, ClosesIdleConnections) {
  EchoHandler handler;
  HttpServerOptions options;
  options.idle_timeout = std::chrono::milliseconds(50);
  HttpServer server(options);
  ASSERT_TRUE(server.Start(&handler).ok());
  HttpConnection connection(server.port());
  EXPECT_TRUE(connection.AtEnd());
}

TEST(HttpServerStartTest, SaysWhatIsWrongWithTheAddress) {
  EchoHandler handler;
  HttpServerOptions options;
  options.listen = "somewhere";
  EXPECT_TRUE(absl::IsInvalidArgument(HttpServer(options).Start(&handler)));
  HttpServer first(HttpServerOptions{});
  ASSERT_TRUE(first.Start(&handler).ok());
  options.listen = "127.0.0.1";
  options.port = first.port();
  const absl::Status status = HttpServer(options).Start(&handler);
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(first.port())));
}

}  // namespace
}  // namespace quartet::gateway::http
