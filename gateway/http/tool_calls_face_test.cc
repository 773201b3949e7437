// Tool calls over real sockets: the fake model says what the test wants it to say, one byte a
// token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gateway/testing/http_client.h"
#include "gateway/testing/test_cluster.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using testing::Fetch;
using testing::FetchEvents;
using ::testing::HasSubstr;
using testing::TestCluster;

constexpr char kTwoCalls[] =
    "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"巴黎\"}}\n"
    "</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";

class ToolCallsFaceTest : public ::testing::Test {
 protected:
  json Request(json fields = json::object()) {
    json request = {{"messages", {{{"role", "user"}, {"content", "hi"}}}},
                    {"max_tokens", 400},
                    {"tools",
                     {{{"type", "function"}, {"function", {{"name", "get_weather"}}}},
                      {{"type", "function"}, {"function", {{"name", "now"}}}}}}};
    request.update(fields);
    return request;
  }
  json Ask(const json& request) {
    const auto response =
        Fetch(cluster_.http_port(), "POST", "/v1/chat/completions", request.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body)["choices"][0];
  }
  std::vector<json> Stream(json request) {
    request["stream"] = true;
    std::vector<json> chunks;
    for (const std::string& event :
         FetchEvents(cluster_.http_port(), "/v1/chat/completions", request.dump())) {
      if (event != "[DONE]") chunks.push_back(json::parse(event));
    }
    return chunks;
  }
  TestCluster cluster_;
};

TEST_F(ToolCallsFaceTest, AWholeAnswerHasItsCalls) {
  cluster_.worker().SetScript(kTwoCalls);
  const json choice = Ask(Request());
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const json& message = choice["message"];
  EXPECT_EQ(message["role"], "assistant");
  EXPECT_EQ(message["content"], "Let me see.");
  ASSERT_EQ(message["tool_calls"].size(), 2u);
  const json& call = message["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "get_weather");
  EXPECT_EQ(call["function"]["arguments"], "{\"city\": \"巴黎\"}");
  const std::string id = call["id"];
  EXPECT_TRUE(absl::StartsWith(id, "call_"));
  EXPECT_NE(message["tool_calls"][1]["id"], id);
  EXPECT_EQ(message["tool_calls"][1]["function"]["arguments"], "{}");
}

TEST_F(ToolCallsFaceTest, CallsAloneHaveNullContent) {
  cluster_.worker().SetScript("<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>");
  EXPECT_TRUE(Ask(Request())["message"]["content"].is_null());
}

TEST_F(ToolCallsFaceTest, StreamedChunksHaveOpenAisShape) {
  cluster_.worker().SetScript(kTwoCalls);
  const std::vector<json> chunks = Stream(Request());
  std::string content;
  std::map<int, std::string> arguments;
  std::map<int, std::string> names;
  for (const json& chunk : chunks) {
    const json& delta = chunk["choices"][0]["delta"];
    if (delta.contains("content") && delta["content"].is_string()) content += delta["content"];
    if (!delta.contains("tool_calls")) continue;
    ASSERT_EQ(delta["tool_calls"].size(), 1u);
    const json& call = delta["tool_calls"][0];
    const int index = call["index"];
    if (!names.contains(index)) {
      EXPECT_TRUE(absl::StartsWith(call["id"].get<std::string>(), "call_"));
      EXPECT_EQ(call["type"], "function");
      names[index] = call["function"]["name"];
    } else {
      EXPECT_FALSE(call.contains("id") || call["function"].contains("name"));
    }
    arguments[index] += call["function"]["arguments"];
  }
  EXPECT_EQ(content, "Let me see.");
  EXPECT_EQ(names, (std::map<int, std::string>{{0, "get_weather"}, {1, "now"}}));
  EXPECT_EQ(arguments, (std::map<int, std::string>{{0, "{\"city\": \"巴黎\"}"}, {1, "{}"}}));
  EXPECT_EQ(chunks.front()["choices"][0]["delta"]["role"], "assistant");
  EXPECT_TRUE(chunks.front()["choices"][0]["delta"]["content"].is_null());
  EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "tool_calls");
}

TEST_F(ToolCallsFaceTest, EachOfSeveralAnswersIsReadForItself) {
  cluster_.worker().SetScript(kTwoCalls);
  std::map<int, int> num_calls;
  for (const json& chunk : Stream(Request({{"n", 3}}))) {
    const json& choice = chunk["choices"][0];
    if (!choice["delta"].contains("tool_calls")) continue;
    num_calls[choice["index"]] += choice["delta"]["tool_calls"][0].contains("id");
  }
  EXPECT_EQ(num_calls, (std::map<int, int>{{0, 2}, {1, 2}, {2, 2}}));
}

TEST_F(ToolCallsFaceTest, OneCallIsEnoughIfTheyMayNotBeParallel) {
  cluster_.worker().SetScript(absl::StrCat(kTwoCalls, " and so on"));
  const auto before = cluster_.worker().submissions().size();
  const json choice = Ask(Request({{"parallel_tool_calls", false}}));
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 1u);
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(cluster_.worker().submissions().size(), before + 1);
}

TEST_F(ToolCallsFaceTest, TheOlderFormHasItsOwnShape) {
  cluster_.worker().SetScript(kTwoCalls);
  json request = Request({{"functions", {{{"name", "get_weather"}}}}});
  request.erase("tools");
  const json choice = Ask(request);
  EXPECT_EQ(choice["finish_reason"], "function_call");
  EXPECT_EQ(choice["message"]["function_call"],
            json({{"name", "get_weather"}, {"arguments", "{\"city\": \"巴黎\"}"}}));
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
  const std::vector<json> chunks = Stream(request);
  std::string arguments;
  for (const json& chunk : chunks) {
    const json& delta = chunk["choices"][0]["delta"];
    if (delta.contains("function_call")) arguments += delta["function_call"]["arguments"];
  }
  EXPECT_EQ(arguments, "{\"city\": \"巴黎\"}");
}

TEST_F(ToolCallsFaceTest, ACallThatIsCutShortEndsWithLength) {
  cluster_.worker().SetScript(kTwoCalls);
  const json choice = Ask(Request({{"max_tokens", 75}}));
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "get_weather");
  EXPECT_FALSE(
      json::accept(choice["message"]["tool_calls"][0]["function"]["arguments"].get<std::string>()));
}

TEST_F(ToolCallsFaceTest, WithoutToolsOrWithNoneTextIsText) {
  cluster_.worker().SetScript(kTwoCalls);
  EXPECT_EQ(Ask(Request({{"tool_choice", "none"}}))["message"]["content"], kTwoCalls);
  EXPECT_EQ(Ask(Request({{"tools", nullptr}}))["message"]["content"], kTwoCalls);
  cluster_.worker().SetScript("Use <tool_call> tags. ");
  const json choice = Ask(Request());
  EXPECT_EQ(choice["message"]["content"], "Use <tool_call> tags. ");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST_F(ToolCallsFaceTest, TheConstraintReachesTheWorkerAndNamesTheEnd) {
  cluster_.worker().SetScript(kTwoCalls);
  EXPECT_EQ(Ask(Request({{"tool_choice", "required"}}))["finish_reason"], "tool_calls");
  EXPECT_THAT(cluster_.worker().submissions().back().structured_output().structural_tag(),
              HasSubstr("get_weather"));
  const json named = {{"type", "function"}, {"function", {{"name", "now"}}}};
  EXPECT_EQ(Ask(Request({{"tool_choice", named}}))["finish_reason"], "stop");
  const std::string tag =
      cluster_.worker().submissions().back().structured_output().structural_tag();
  EXPECT_THAT(tag, HasSubstr("now"));
  EXPECT_FALSE(absl::StrContains(tag, "get_weather"));
}

TEST_F(ToolCallsFaceTest, EveryTokensLogprobIsThereOnce) {
  cluster_.worker().SetScript(kTwoCalls);
  const json request = Request({{"logprobs", true}});
  const size_t num_tokens = sizeof kTwoCalls - 1;
  EXPECT_EQ(Ask(request)["logprobs"]["content"].size(), num_tokens);
  size_t streamed = 0;
  for (const json& chunk : Stream(request)) {
    const json& logprobs = chunk["choices"][0]["logprobs"];
    if (logprobs.is_object()) streamed += logprobs["content"].size();
  }
  EXPECT_EQ(streamed, num_tokens);
}

}  // namespace
}  // namespace quartet::gateway::http
