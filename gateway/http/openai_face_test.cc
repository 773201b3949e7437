// The OpenAI face over real sockets: gateway and HTTP server as they are, fake tokenizer and worker
// as gRPC peers. The fake model repeats its prompt, one byte a token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gateway/testing/http_client.h"
#include "gateway/testing/test_cluster.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using testing::ClientResponse;
using testing::Fetch;
using testing::FetchEvents;
using ::testing::HasSubstr;
using testing::HttpConnection;
using ::testing::SizeIs;
using testing::TestCluster;

class OpenAiFaceTest : public ::testing::Test {
 protected:
  ClientResponse Post(const std::string& path, const json& body) {
    return Fetch(cluster_.http_port(), "POST", path, body.dump());
  }
  json Complete(const json& body) {
    const ClientResponse response = Post("/v1/completions", body);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  TestCluster cluster_;
};

std::string JoinText(const std::vector<std::string>& events, size_t index = 0) {
  std::string text;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const json body = json::parse(event);
    for (const json& choice : body["choices"]) {
      if (choice["index"] != index) continue;
      text += (choice.contains("text") ? choice : choice["delta"])
                  .value(choice.contains("text") ? "text" : "content", "");
    }
  }
  return text;
}

TEST_F(OpenAiFaceTest, ThePlainestRequestWorks) {
  const json body = Complete(
      {{"prompt", "请解释牛顿第一定律，并举例说明。"}, {"max_tokens", 48}, {"temperature", 0.7}});
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "toy");
  ASSERT_EQ(body["choices"].size(), 1u);
  EXPECT_EQ(body["choices"][0]["text"], "请解释牛顿第一定律，并举例说明。");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 48);
  EXPECT_EQ(body["usage"]["completion_tokens"], 48);
  EXPECT_EQ(body["usage"]["total_tokens"], 96);
}

TEST_F(OpenAiFaceTest, ChoicesAreOrderedByPromptFirst) {
  const json body = Complete({{"prompt", {"ab", "cd"}}, {"n", 2}, {"max_tokens", 2}});
  ASSERT_EQ(body["choices"].size(), 4u);
  const char* const expected[] = {"ab", "ab", "cd", "cd"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], expected[i]);
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 4) << "each prompt once";
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
}

TEST_F(OpenAiFaceTest, PromptsMayBeIds) {
  EXPECT_EQ(Complete({{"prompt", {72, 105}}, {"max_tokens", 2}})["choices"][0]["text"], "Hi");
  const json body = Complete({{"prompt", {{72}, {73}}}, {"max_tokens", 1}, {"echo", true}});
  EXPECT_EQ(body["choices"][1]["text"], "II");
}

TEST_F(OpenAiFaceTest, StreamsAndEndsWithDone) {
  const auto events = FetchEvents(
      cluster_.http_port(), "/v1/completions",
      R"({"prompt":"牛顿 abc","max_tokens":10,"stream":true,"stream_options":{"include_usage":true}})");
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(JoinText(events), "牛顿 abc");
  const json usage = json::parse(events[events.size() - 2]);
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 10);
  const json finish = json::parse(events[events.size() - 3]);
  EXPECT_EQ(finish["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(finish["usage"].is_null());
}

TEST_F(OpenAiFaceTest, ChatStreamsDeltas) {
  const json request = {
      {"messages", {{{"role", "user"}, {"content", "hi"}}}}, {"max_tokens", 7}, {"stream", true}};
  const auto events = FetchEvents(cluster_.http_port(), "/v1/chat/completions", request.dump());
  ASSERT_GE(events.size(), 4u);
  const json first = json::parse(events[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"]["role"], "assistant");
  EXPECT_FALSE(first.contains("usage"));
  EXPECT_EQ(JoinText(events), "user:hi");
}

TEST_F(OpenAiFaceTest, ChatAnswersWhole) {
  const ClientResponse response =
      Post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "hi"}}}},
                                    {"max_completion_tokens", 4},
                                    {"logprobs", true},
                                    {"top_logprobs", 2}});
  ASSERT_EQ(response.status, 200) << response.body;
  const json body = json::parse(response.body);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "user");
  const json& content = choice["logprobs"]["content"];
  ASSERT_EQ(content.size(), 4u);
  EXPECT_EQ(content[0]["token"], "u");
  EXPECT_EQ(content[0]["bytes"], json::array({'u'}));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
}

TEST_F(OpenAiFaceTest, EchoedLogprobsBeginWithNull) {
  const json body =
      Complete({{"prompt", "牛a"}, {"max_tokens", 4}, {"echo", true}, {"logprobs", 1}});
  const json& logprobs = body["choices"][0]["logprobs"];
  EXPECT_EQ(body["choices"][0]["text"], "牛a牛a");
  ASSERT_EQ(logprobs["tokens"].size(), 8u);
  EXPECT_EQ(logprobs["tokens"][0], "bytes:\\xe7");
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["token_logprobs"][1], -1.0);
  EXPECT_EQ(logprobs["text_offset"], json({0, 0, 0, 1, 2, 2, 2, 3}));
}

TEST_F(OpenAiFaceTest, EchoAloneScoresThePrompt) {
  const json body =
      Complete({{"prompt", "abc"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 0}});
  EXPECT_EQ(body["choices"][0]["text"], "abc");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"], json({"a", "b", "c"}));
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
}

TEST_F(OpenAiFaceTest, StopStringsAreNotShown) {
  const json body = Complete({{"prompt", "one two"}, {"max_tokens", 50}, {"stop", {"e t", "zz"}}});
  EXPECT_EQ(body["choices"][0]["text"], "on");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["completion_tokens"], 5);
  EXPECT_TRUE(cluster_.worker().WaitFor(
      [](size_t, size_t, size_t num_running) { return num_running == 0; }));
}

TEST_F(OpenAiFaceTest, ErrorsHaveOpenAisShape) {
  const struct {
    const char* method;
    const char* path;
    std::string body;
    int status;
    const char* message;
  } cases[] = {
      {"POST", "/v1/completions", "{\"prompt\": \"x\", }", 400, "line 1, column 17"},
      {"POST", "/v1/completions", "{\"prompt\": \"\xff\"}", 400, "byte 12 is 0xff"},
      {"POST", "/v1/completions", "[]", 400, "must be a JSON object"},
      {"POST", "/v1/completions", "", 400, "parse"},
      {"POST", "/v1/completions", R"({"prompt":"x","max_tokens":-5})", 400, "got -5"},
      {"POST", "/v1/completions", R"({"prompt":"x","temperature":-1})", 400, "got -1"},
      {"POST", "/v1/completions", R"({"prompt":[1,99999]})", 400, "token id 99999"},
      {"POST", "/v1/completions", R"({"prompt":""})", 400, "is empty"},
      {"POST", "/v1/completions", R"({"prompt":"x","model":"gpt-7"})", 404, "gpt-7"},
      {"POST", "/v1/completions", R"({"prompt":"x","max_tokens":100000})", 400,
       "maximum context length is 100000 tokens, but you requested 100001 tokens (1 in the prompt"},
      {"GET", "/v1/completions", "", 405, "use POST"},
      {"GET", "/v1/nothing", "", 404, "Unknown request URL"},
      {"GET", "/v1/models/other", "", 404, "other"},
      {"DELETE", "/v1/models/toy", "", 405, "use GET"},
  };
  for (const auto& c : cases) {
    const ClientResponse response = Fetch(cluster_.http_port(), c.method, c.path, c.body);
    EXPECT_EQ(response.status, c.status) << c.body << response.body;
    const json error = json::parse(response.body)["error"];
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(c.message));
    EXPECT_TRUE(error.contains("type") && error.contains("param") && error.contains("code"));
  }
  Complete({{"prompt", "still alive"}, {"max_tokens", 1}});
}

TEST_F(OpenAiFaceTest, ATenMegabytePromptGetsANumberedRefusal) {
  const ClientResponse response =
      Post("/v1/completions", {{"prompt", std::string(10 << 20, 'x')}, {"max_tokens", 1}});
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("10485760 in the prompt"));
  EXPECT_EQ(json::parse(response.body)["error"]["code"], "context_length_exceeded");
}

TEST_F(OpenAiFaceTest, TellsOfItsModelAndItself) {
  const int port = cluster_.http_port();
  EXPECT_EQ(json::parse(Fetch(port, "GET", "/v1/models").body)["data"][0]["id"], "toy");
  EXPECT_EQ(json::parse(Fetch(port, "GET", "/v1/models/toy").body)["object"], "model");
  EXPECT_EQ(Fetch(port, "GET", "/health").status, 200);
  EXPECT_TRUE(json::parse(Fetch(port, "GET", "/version").body).contains("version"));
  EXPECT_THAT(Fetch(port, "GET", "/").body, HasSubstr("/v1/chat/completions"));
  Complete({{"prompt", "abc"}, {"max_tokens", 5}});
  const std::string metrics = Fetch(port, "GET", "/metrics?x=y").body;
  EXPECT_THAT(metrics, HasSubstr("quartet_prompt_tokens_total{model_name=\"toy\"} 3"));
  EXPECT_THAT(metrics, HasSubstr("quartet_generation_tokens_total{model_name=\"toy\"} 5"));
  EXPECT_THAT(metrics, HasSubstr("quartet_time_to_first_token_seconds_bucket"));
  EXPECT_THAT(metrics, HasSubstr("le=\"0.001\""));
  EXPECT_EQ(json::parse(Post("/tokenize", {{"prompt", "ab"}}).body)["tokens"], json({97, 98}));
  EXPECT_EQ(json::parse(Post("/detokenize", {{"tokens", {97, 98}}}).body)["prompt"], "ab");
}

TEST_F(OpenAiFaceTest, AClientThatGoesFreesItsSequences) {
  cluster_.worker().SetPaused(true);
  for (const char* stream : {"true", "false"}) {
    HttpConnection connection(cluster_.http_port());
    const size_t before = cluster_.worker().submissions().size();
    connection.Send("POST", "/v1/completions",
                    absl::StrCat(R"({"prompt":"x","n":2,"max_tokens":100,"stream":)", stream, "}"));
    ASSERT_TRUE(cluster_.worker().WaitFor(
        [&](size_t submissions, size_t, size_t) { return submissions == before + 2; }));
    connection.Close();
    EXPECT_TRUE(cluster_.worker().WaitFor([&](size_t, size_t cancels, size_t running) {
      return cancels == before + 2 && running == 0;
    }));
  }
}

TEST_F(OpenAiFaceTest, ARestartedWorkerCostsOnlyAPause) {
  const std::string prompt = "The quick brown fox jumps over the lazy dog. ";
  cluster_.worker().SetPaused(true);
  std::vector<std::vector<std::string>> streams(8);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < streams.size(); ++i) {
    clients.emplace_back([&, i] {
      const json body = {{"prompt", prompt}, {"max_tokens", 200 + i}, {"stream", true}};
      // A client that comes while no worker is attached gets 503 and tries again.
      for (int attempt = 0; attempt < 10000 && streams[i].empty(); ++attempt) {
        streams[i] = FetchEvents(cluster_.http_port(), "/v1/completions", body.dump());
      }
    });
  }
  EXPECT_TRUE(cluster_.worker().WaitFor([](size_t n, size_t, size_t) { return n == 8; }));
  cluster_.worker().BreakAfterTokens(400);
  cluster_.worker().SetPaused(false);
  for (std::thread& client : clients) client.join();
  size_t num_resumed = 0;
  for (const auto& submit : cluster_.worker().submissions()) num_resumed += submit.attempt() > 0;
  EXPECT_EQ(num_resumed, 8u);
  for (size_t i = 0; i < streams.size(); ++i) {
    std::string expected;
    while (expected.size() < 200 + i) expected += prompt;
    EXPECT_EQ(JoinText(streams[i]), expected.substr(0, 200 + i));
    ASSERT_FALSE(streams[i].empty());
    EXPECT_EQ(streams[i].back(), "[DONE]");
  }
}

TEST_F(OpenAiFaceTest, HealthFollowsWorkerAndTokenizer) {
  const int port = cluster_.http_port();
  cluster_.StopWorker();
  ASSERT_TRUE(cluster_.WaitForServing(false));
  EXPECT_EQ(Fetch(port, "GET", "/health").status, 503);
  EXPECT_EQ(Post("/v1/completions", {{"prompt", "x"}}).status, 503);
  cluster_.StartWorker();
  ASSERT_TRUE(cluster_.WaitForServing(true));
  EXPECT_EQ(Fetch(port, "GET", "/health").status, 200);
  cluster_.StopTokenizer();
  ASSERT_TRUE(cluster_.WaitForServing(false));
  EXPECT_THAT(Fetch(port, "GET", "/health").body, HasSubstr("tokenizer"));
}

TEST_F(OpenAiFaceTest, AFullQueueIs429WithRetryAfter) {
  cluster_.worker().FailSubmissions(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  for (const bool stream : {false, true}) {
    const ClientResponse response = Post("/v1/completions", {{"prompt", "x"}, {"stream", stream}});
    EXPECT_EQ(response.status, 429);
    EXPECT_EQ(response.headers.at("retry-after"), "1");
  }
}

TEST_F(OpenAiFaceTest, TheTenantIsNamedOrADigestOfTheKey) {
  const auto send = [&](const std::string& headers, const std::string& body) {
    HttpConnection connection(cluster_.http_port());
    connection.SendRaw(absl::StrCat("POST /v1/completions HTTP/1.1\r\nHost: t\r\n", headers,
                                    "Content-Length: ", body.size(), "\r\n\r\n", body));
    return connection.Receive();
  };
  const auto tenant = [&](const std::string& headers) {
    EXPECT_EQ(send(headers, R"({"prompt":"x","priority":-2,"cache_salt":"s"})").status, 200);
    return cluster_.worker().submissions().back().tenant();
  };
  EXPECT_EQ(tenant(""), "");
  const std::string of_key = tenant("Authorization: Bearer sk-1\r\n");
  EXPECT_EQ(of_key.substr(0, 4), "key-");
  EXPECT_NE(tenant("Authorization: Bearer sk-2\r\n"), of_key);
  EXPECT_EQ(tenant("authorization: Bearer sk-1\r\nx-tenant: team-a\r\n"), "team-a");
  EXPECT_EQ(cluster_.worker().submissions().back().priority(), -2);
  EXPECT_EQ(cluster_.worker().submissions().back().cache_salt(), "s");
  ClientResponse response =
      send(absl::StrCat("X-Tenant: ", std::string(257, 't'), "\r\n"), R"({"prompt":"x"})");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body)["error"]["param"], "tenant");
  response = send("X-Tenant: \xff\r\n", R"({"prompt":"x"})");
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("not valid UTF-8"));
  response = send("", R"({"prompt":"x","priority":"high"})");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body)["error"]["param"], "priority");
  response = send("", R"({"prompt":"x","cache_salt":5})");
  EXPECT_EQ(json::parse(response.body)["error"]["param"], "cache_salt");
}

TEST_F(OpenAiFaceTest, HundredsOfStreamsAtOnceOnTwoThreads) {
  constexpr int kStreams = 300;
  std::vector<std::unique_ptr<HttpConnection>> connections;
  for (int i = 0; i < kStreams; ++i) {
    connections.push_back(std::make_unique<HttpConnection>(cluster_.http_port()));
    const json body = {
        {"prompt", absl::StrCat("stream ", i, ";")}, {"max_tokens", 60}, {"stream", true}};
    connections.back()->Send("POST", "/v1/completions", body.dump());
  }
  for (int i = 0; i < kStreams; ++i) {
    ASSERT_EQ(connections[i]->ReceiveHead().status, 200);
    std::vector<std::string> events;
    for (std::string e = connections[i]->ReadEvent(); !e.empty(); e = connections[i]->ReadEvent()) {
      events.push_back(std::move(e));
    }
    const std::string prompt = absl::StrCat("stream ", i, ";");
    std::string expected;
    while (expected.size() < 60) expected += prompt;
    ASSERT_EQ(JoinText(events), expected.substr(0, 60));
    ASSERT_EQ(events.back(), "[DONE]");
  }
}

TEST(OpenAiFaceOptionsTest, ErrorsAfterTheHeadAreEventsWithoutDone) {
  GatewayOptions options;
  options.started_hold = absl::ZeroDuration();
  options.resume_timeout = absl::Milliseconds(50);
  TestCluster cluster(options);
  cluster.worker().SetPaused(true);
  HttpConnection connection(cluster.http_port());
  connection.Send("POST", "/v1/completions", R"({"prompt":"x","stream":true})");
  EXPECT_EQ(connection.ReceiveHead().status, 200) << "the status is held no longer";
  cluster.StopWorker();
  const std::string event = connection.ReadEvent();
  EXPECT_THAT(event, HasSubstr("\"error\""));
  EXPECT_THAT(event, HasSubstr("tokens were delivered"));
  EXPECT_EQ(connection.ReadEvent(), "") << "no [DONE]";
}

TEST(OpenAiFaceOptionsTest, AReaderThatStopsIsCutOffAndSlowsNobody) {
  HttpServerOptions http_options;
  http_options.max_unsent_bytes = 1 << 20;
  TestCluster cluster({}, http_options);
  HttpConnection slow(cluster.http_port());
  const json endless = {
      {"prompt", "x"}, {"max_tokens", 99'000}, {"logprobs", 20}, {"stream", true}};
  slow.Send("POST", "/v1/completions", endless.dump());
  ASSERT_EQ(slow.ReceiveHead().status, 200);
  const ClientResponse other =
      Fetch(cluster.http_port(), "POST", "/v1/completions", R"({"prompt":"abc","max_tokens":6})");
  EXPECT_EQ(json::parse(other.body)["choices"][0]["text"], "abcabc");
  EXPECT_TRUE(cluster.worker().WaitFor([](size_t, size_t cancels, size_t running) {
    return cancels == 1 && running == 0;
  })) << "its sequence is freed";
  std::string last;
  for (std::string e = slow.ReadEvent(); !e.empty(); e = slow.ReadEvent()) last = std::move(e);
  EXPECT_NE(last, "[DONE]");
  EXPECT_TRUE(slow.AtEnd());
}

TEST(OpenAiFaceOptionsTest, DrainLetsRunningAnswersFinishAndRefusesNewOnes) {
  TestCluster cluster;
  cluster.worker().SetPaused(true);
  HttpConnection running(cluster.http_port());
  running.Send("POST", "/v1/completions", R"({"prompt":"x","max_tokens":3})");
  ASSERT_TRUE(cluster.worker().WaitFor([](size_t n, size_t, size_t) { return n == 1; }));
  std::thread drain([&] { cluster.gateway().Drain(absl::Seconds(10)); });
  ASSERT_TRUE(cluster.WaitForServing(false));
  EXPECT_EQ(Fetch(cluster.http_port(), "POST", "/v1/completions", R"({"prompt":"x"})").status, 503);
  cluster.worker().SetPaused(false);
  drain.join();
  const ClientResponse response = running.Receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(json::parse(response.body)["choices"][0]["text"], "xxx");
}

}  // namespace
}  // namespace quartet::gateway::http
