// What requests ask for beyond a text, over real sockets: ids, names, shapes, tokens. The fake
// model repeats its prompt, one byte a token.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/testing/http_client.h"
#include "gateway/testing/test_cluster.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using testing::ClientResponse;
using testing::Fetch;
using testing::FetchEvents;
using testing::HttpConnection;
using testing::TestCluster;

class ParametersFaceTest : public ::testing::Test {
 protected:
  ClientResponse Post(const std::string& path, const json& body) {
    return Fetch(cluster_.http_port(), "POST", path, body.dump());
  }
  void Complete(const json& body) {
    const ClientResponse response = Post("/v1/completions", body);
    EXPECT_EQ(response.status, 200) << response.body;
  }
  TestCluster cluster_;
};

TEST_F(ParametersFaceTest, TheClientsRequestIdIsUsedAndGivenBack) {
  const auto send = [&](const std::string& headers, const std::string& body) {
    HttpConnection connection(cluster_.http_port());
    connection.SendRaw(absl::StrCat("POST /v1/completions HTTP/1.1\r\nHost: t\r\n", headers,
                                    "Content-Length: ", body.size(), "\r\n\r\n", body));
    return connection.Receive();
  };
  ClientResponse response = send("X-Request-Id: r-1\r\n", R"({"prompt":"x","request_id":"r-2"})");
  EXPECT_EQ(response.headers.at("x-request-id"), "r-1");
  EXPECT_EQ(json::parse(response.body)["id"], "cmpl-r-1");
  EXPECT_EQ(cluster_.worker().submissions().back().request_id(), "r-1");
  response = send("", R"({"prompt":"x","request_id":"r-2"})");
  EXPECT_EQ(response.headers.at("x-request-id"), "r-2");
  response = send("X-Request-Id: r-3\r\n", R"({"prompt":5})");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.headers.at("x-request-id"), "r-3") << "errors too";
  response = send("", R"({"prompt":"x"})");
  EXPECT_EQ(response.headers.at("x-request-id"), json::parse(response.body)["id"]);
  response = send("", R"({"prompt":"x","request_id":"a\r\nSet-Cookie: b"})");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body)["error"]["param"], "request_id");
  EXPECT_EQ(response.headers.count("set-cookie"), 0u);
  EXPECT_EQ(send("X-Request-Id: a b\r\n", R"({"prompt":"x"})").status, 400);
}

TEST_F(ParametersFaceTest, AnEndUserIsTheTenantIfNothingElseSaysWhoItIs) {
  Complete({{"prompt", "x"}, {"user", "ann"}});
  EXPECT_EQ(cluster_.worker().submissions().back().tenant(), "ann");
  Complete({{"prompt", "x"}, {"user", "ann"}, {"safety_identifier", "bob"}});
  EXPECT_EQ(cluster_.worker().submissions().back().tenant(), "bob");
}

TEST_F(ParametersFaceTest, ShapesListsAndWordsReachTheWorker) {
  Complete({{"prompt", "x"},
            {"bad_words", {"no"}},
            {"allowed_token_ids", {120}},
            {"response_format", {{"type", "json_object"}}}});
  const auto submit = cluster_.worker().submissions().back();
  EXPECT_EQ(submit.sampling().banned_sequences_size(), 2);
  EXPECT_EQ(submit.sampling().allowed_token_ids(0), 120u);
  EXPECT_TRUE(submit.structured_output().has_json_object());
}

TEST_F(ParametersFaceTest, AStreamTellsIdsAndUsageAndGathersTokens) {
  const auto events = FetchEvents(
      cluster_.http_port(), "/v1/completions",
      R"({"prompt":"abc","max_tokens":10,"stream":true,"stream_interval":4,"return_token_ids":true,
          "stream_options":{"continuous_usage_stats":true}})");
  ASSERT_FALSE(events.empty());
  json ids = json::array();
  size_t num_with_text = 0;
  std::string text;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json event = json::parse(events[i]);
    EXPECT_EQ(event["usage"]["prompt_tokens"], 3);
    const json& choice = event["choices"][0];
    EXPECT_EQ(choice.contains("prompt_token_ids"), i == 0);
    text += choice["text"].get<std::string>();
    num_with_text += !choice["text"].get<std::string>().empty();
    for (const json& id : choice.value("token_ids", json::array())) ids.push_back(id);
    EXPECT_EQ(event["usage"]["completion_tokens"], ids.size());
  }
  EXPECT_EQ(text, "abcabcabca");
  EXPECT_EQ(ids.size(), 10u);
  EXPECT_LE(num_with_text, 4u) << "the first, two of at least four, the rest";
}

TEST_F(ParametersFaceTest, TokenizesMessagesAndTellsTheTokensTexts) {
  const json chat =
      json::parse(Post("/tokenize", {{"messages", {{{"role", "user"}, {"content", "h\xc3\xa9"}}}},
                                     {"return_token_strs", true}})
                      .body);
  EXPECT_EQ(chat["count"], chat["tokens"].size());
  EXPECT_EQ(chat["max_model_len"], 100'000);
  EXPECT_EQ(chat["token_strs"][5], "h");
  EXPECT_EQ(chat["token_strs"][6], "bytes:\\xc3");
  EXPECT_EQ(Post("/tokenize", {{"prompt", "x"}, {"model", "other"}}).status, 404);
  EXPECT_EQ(Post("/detokenize", {{"tokens", {1}}, {"model", "other"}}).status, 404);
  EXPECT_EQ(Post("/tokenize", json::object()).status, 400);
  EXPECT_EQ(Post("/tokenize", {{"prompt", "x"}, {"messages", json::array()}}).status, 400);
  EXPECT_EQ(Post("/detokenize", {{"tokens", {-1}}}).status, 400);
  EXPECT_EQ(Post("/detokenize", {{"tokens", {99999}}}).status, 400);
}

}  // namespace
}  // namespace quartet::gateway::http
