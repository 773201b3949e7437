// What "/" and "/cluster" answer, over real sockets, with a fake worker as gRPC peer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "gateway/http/web_page.h"
#include "gateway/testing/http_client.h"
#include "gateway/testing/test_cluster.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using testing::ClientResponse;
using testing::Fetch;
using ::testing::HasSubstr;
using testing::HttpConnection;
using ::testing::StartsWith;
using testing::TestCluster;

json GetCluster(const TestCluster& cluster) {
  const ClientResponse response = Fetch(cluster.http_port(), "GET", "/cluster");
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  return json::parse(response.body);
}

TEST(ClusterFaceTest, CountsTheTokensOfEachGroup) {
  TestCluster cluster;
  const json before = GetCluster(cluster);
  EXPECT_EQ(before["serving"], true);
  EXPECT_EQ(before["model"]["name"], "toy");
  ASSERT_EQ(before["groups"].size(), 1u);
  EXPECT_EQ(before["groups"][0]["address"], cluster.worker_address());
  EXPECT_EQ(before["groups"][0]["generated_tokens"], 0);
  EXPECT_TRUE(
      absl::EndsWith(cluster.grpc_address(), absl::StrCat(":", before["grpc_port"].get<int>())));
  const json request = {{"prompt", "abc"}, {"max_tokens", 7}};
  ASSERT_EQ(Fetch(cluster.http_port(), "POST", "/v1/completions", request.dump()).status, 200);
  const json after = GetCluster(cluster);
  EXPECT_EQ(after["groups"][0]["generated_tokens"], 7);
  EXPECT_GT(after["uptime_seconds"], before["uptime_seconds"]);
}

TEST(ClusterFaceTest, SaysThatAGroupIsLost) {
  TestCluster cluster;
  cluster.StopWorker();
  ASSERT_TRUE(cluster.WaitForServing(false));
  const json state = GetCluster(cluster);
  EXPECT_EQ(state["serving"], false);
  EXPECT_THAT(state["reason"].get<std::string>(), StartsWith("no worker is attached"));
  EXPECT_TRUE(state["groups"].empty());
}

TEST(ClusterFaceTest, BrowsersGetThePageIfItIsBuilt) {
  TestCluster cluster;
  HttpConnection connection(cluster.http_port());
  connection.SendRaw("GET / HTTP/1.1\r\nHost: t\r\nAccept: text/html\r\n\r\n");
  const ClientResponse page = connection.Receive();
  EXPECT_EQ(page.status, 200);
  const ClientResponse text = Fetch(cluster.http_port(), "GET", "/");
  EXPECT_THAT(text.body, StartsWith("Quartet "));
  EXPECT_THAT(text.body, HasSubstr("/v1/chat/completions"));
  if (!WebPage().is_built()) {
    EXPECT_EQ(page.body, text.body);
    EXPECT_THAT(text.body, HasSubstr("deploy/local/setup"));
    return;
  }
  EXPECT_THAT(page.body, StartsWith("<!doctype html>"));
  connection.SendRaw("GET / HTTP/1.1\r\nHost: t\r\nAccept: text/html\r\nIf-None-Match: " +
                     page.headers.at("etag") + "\r\n\r\n");
  const ClientResponse unchanged = connection.Receive(/*head_only=*/true);
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_EQ(unchanged.headers.count("content-length"), 0u);
  // The connection goes on after an answer without a body.
  connection.Send("GET", "/version");
  EXPECT_EQ(connection.Receive().status, 200);
  EXPECT_EQ(Fetch(cluster.http_port(), "GET", "/assets/nothing.js").status, 404);
}

}  // namespace
}  // namespace quartet::gateway::http
