// The Responses API over real sockets: the fake model repeats its prompt, or says what the test
// wants it to say, one byte a token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gateway/http/responses_request.h"
#include "gateway/request_error.h"
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
using testing::TestCluster;

constexpr char kCallBehindText[] =
    "Let me see.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": "
    "\"巴黎\"}}\n</tool_call>";

class ResponsesFaceTest : public ::testing::Test {
 protected:
  ClientResponse Send(const std::string& method, const std::string& path, const json& body) {
    return Fetch(cluster_.http_port(), method, path, body.is_null() ? "" : body.dump());
  }
  json Create(const json& body) {
    const ClientResponse response = Send("POST", "/v1/responses", body);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  std::vector<json> Stream(json body) {
    body["stream"] = true;
    std::vector<json> events;
    for (const std::string& event :
         FetchEvents(cluster_.http_port(), "/v1/responses", body.dump())) {
      events.push_back(json::parse(event));
      EXPECT_EQ(events.back()["sequence_number"], events.size() - 1);
    }
    return events;
  }
  const json tools_ = {
      {{"type", "function"}, {"name", "now"}, {"parameters", {{"type", "object"}}}}};
  TestCluster cluster_;
};

// Types of events, neighbours of a type once.
std::string TypesOf(const std::vector<json>& events) {
  std::vector<std::string> types;
  for (const json& event : events) {
    if (types.empty() || types.back() != event["type"]) types.push_back(event["type"]);
  }
  return absl::StrJoin(types, " ");
}

TEST_F(ResponsesFaceTest, AStringIsAUsersMessage) {
  const json response = Create({{"input", "hi"},
                                {"instructions", "be short"},
                                {"metadata", {{"k", "v"}}},
                                {"max_output_tokens", 23}});
  EXPECT_TRUE(absl::StartsWith(response["id"].get<std::string>(), "resp_"));
  EXPECT_EQ(response["object"], "response");
  EXPECT_EQ(response["model"], "toy");
  EXPECT_EQ(response["instructions"], "be short");
  EXPECT_EQ(response["metadata"], json({{"k", "v"}}));
  EXPECT_EQ(response["max_output_tokens"], 23);
  ASSERT_EQ(response["output"].size(), 1u);
  const json& item = response["output"][0];
  EXPECT_EQ(item["type"], "message");
  EXPECT_EQ(item["content"][0]["text"], "system:be short\nuser:hi");
  EXPECT_EQ(response["usage"]["output_tokens"], 23);
  EXPECT_EQ(response["usage"]["total_tokens"].get<int>(),
            response["usage"]["input_tokens"].get<int>() + 23);
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(item["status"], "incomplete");
}

TEST_F(ResponsesFaceTest, ItemsBecomeMessages) {
  const json response =
      Create({{"input",
               {{{"role", "user"}, {"content", {{{"type", "input_text"}, {"text", "a"}}}}},
                {{"type", "function_call"}, {"call_id", "c"}, {"name", "now"}, {"arguments", "{}"}},
                {{"type", "function_call_output"}, {"call_id", "c"}, {"output", "noon"}},
                {{"type", "message"}, {"role", "user"}, {"content", "b"}}}},
              {"max_output_tokens", 35}});
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "user:a\nassistant:\ntool:noon\nuser:b\n");
}

TEST_F(ResponsesFaceTest, StreamedTextHasOpenAisEvents) {
  cluster_.worker().SetScript("Hello, 世界");
  const std::vector<json> events = Stream({{"input", "x"}, {"max_output_tokens", 100}});
  EXPECT_EQ(TypesOf(events),
            "response.created response.in_progress response.output_item.added "
            "response.content_part.added response.output_text.delta response.output_text.done "
            "response.content_part.done response.output_item.done response.completed");
  std::string text;
  for (const json& event : events) {
    if (event["type"] == "response.output_text.delta") text += event["delta"];
  }
  EXPECT_EQ(text, "Hello, 世界");
  const json& response = events.back()["response"];
  EXPECT_EQ(response["status"], "completed");
  EXPECT_EQ(response["output"][0]["content"][0]["text"], text);
  EXPECT_EQ(events[2]["item"]["id"], response["output"][0]["id"]);
  EXPECT_EQ(events[0]["response"]["output"], json::array());
}

TEST_F(ResponsesFaceTest, CallsAreItems) {
  cluster_.worker().SetScript(kCallBehindText);
  const json request = {{"input", "x"}, {"tools", tools_}, {"max_output_tokens", 200}};
  const json response = Create(request);
  ASSERT_EQ(response["output"].size(), 2u);
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "Let me see.");
  const json& call = response["output"][1];
  EXPECT_EQ(call["type"], "function_call");
  EXPECT_EQ(call["name"], "now");
  EXPECT_EQ(call["arguments"], "{\"zone\": \"巴黎\"}");
  EXPECT_TRUE(absl::StartsWith(call["call_id"].get<std::string>(), "call_"));
  EXPECT_EQ(response["tools"][0]["name"], "now");

  const std::vector<json> events = Stream(request);
  EXPECT_THAT(TypesOf(events),
              HasSubstr("response.output_item.done response.output_item.added "
                        "response.function_call_arguments.delta "
                        "response.function_call_arguments.done response.output_item.done "
                        "response.completed"));
  std::string arguments;
  for (const json& event : events) {
    if (event["type"] != "response.function_call_arguments.delta") continue;
    EXPECT_EQ(event["output_index"], 1);
    arguments += event["delta"];
  }
  EXPECT_EQ(arguments, call["arguments"]);
}

TEST_F(ResponsesFaceTest, ToolChoiceIsHeldByTheEngine) {
  cluster_.worker().SetScript(kCallBehindText);
  Create({{"input", "x"},
          {"tools", tools_},
          {"tool_choice", {{"type", "function"}, {"name", "now"}}}});
  EXPECT_THAT(cluster_.worker().submissions().back().structured_output().structural_tag(),
              HasSubstr("tags_with_separator"));
}

TEST_F(ResponsesFaceTest, StoredResponsesCanBeContinuedReadAndForgotten) {
  cluster_.worker().SetScript("blue");
  const json first =
      Create({{"input", "sky?"}, {"instructions", "once"}, {"max_output_tokens", 9}});
  const std::string id = first["id"];
  cluster_.worker().SetScript("");
  const json second =
      Create({{"input", "why?"}, {"previous_response_id", id}, {"max_output_tokens", 35}});
  EXPECT_EQ(second["output"][0]["content"][0]["text"], "user:sky?\nassistant:blue\nuser:why?\n")
      << "the instructions are not carried over";
  EXPECT_EQ(second["previous_response_id"], id);
  const std::string path = absl::StrCat("/v1/responses/", id);
  EXPECT_EQ(json::parse(Send("GET", path, nullptr).body), first);
  EXPECT_EQ(json::parse(Send("DELETE", path, nullptr).body)["deleted"], true);
  EXPECT_EQ(Send("GET", path, nullptr).status, 404);
  EXPECT_EQ(Send("DELETE", path, nullptr).status, 404);
  const ClientResponse gone =
      Send("POST", "/v1/responses", {{"input", "x"}, {"previous_response_id", id}});
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(json::parse(gone.body)["error"]["param"], "previous_response_id");
  const json unstored = Create({{"input", "x"}, {"store", false}, {"max_output_tokens", 1}});
  EXPECT_EQ(unstored["store"], false);
  EXPECT_EQ(Send("GET", absl::StrCat("/v1/responses/", unstored["id"].get<std::string>()), nullptr)
                .status,
            404);
}

TEST_F(ResponsesFaceTest, LogprobsComeWithTheText) {
  cluster_.worker().SetScript("abc");
  const json response =
      Create({{"input", "x"}, {"top_logprobs", 2}, {"include", {"message.output_text.logprobs"}}});
  const json& logprobs = response["output"][0]["content"][0]["logprobs"];
  ASSERT_EQ(logprobs.size(), 3u);
  EXPECT_EQ(logprobs[1]["token"], "b");
  EXPECT_EQ(logprobs[1]["top_logprobs"].size(), 2u);
}

TEST_F(ResponsesFaceTest, ACutStreamNeverLooksComplete) {
  cluster_.worker().SetPaused(true);
  HttpConnection connection(cluster_.http_port());
  connection.Send("POST", "/v1/responses",
                  R"({"input": "x", "stream": true, "max_output_tokens": 100000000})");
  EXPECT_EQ(connection.Receive().status, 400) << "errors before the first token are plain";
  cluster_.worker().SetPaused(false);
  HttpConnection cut(cluster_.http_port());
  cut.Send("POST", "/v1/responses",
           R"({"input": "x", "stream": true, "max_output_tokens": 90000})");
  ASSERT_EQ(cut.ReceiveHead().status, 200);
  std::vector<json> events = {json::parse(cut.ReadEvent())};
  cluster_.gateway().Drain(absl::ZeroDuration());
  for (std::string event = cut.ReadEvent(); !event.empty(); event = cut.ReadEvent()) {
    events.push_back(json::parse(event));
  }
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events[events.size() - 2]["type"], "error");
  EXPECT_EQ(events.back()["type"], "response.failed");
  EXPECT_EQ(events.back()["response"]["status"], "failed");
  for (const json& event : events) EXPECT_NE(event["type"], "response.completed");
}

TEST(ResponsesRequestTest, ErrorsNameTheFieldsOfTheRequest) {
  const struct {
    const char* fields;
    const char* param;
    const char* message;
  } cases[] = {
      {R"("a": 1)", "input", "got null"},
      {R"("input": [])", "input", "at least one item"},
      {R"("input": ["x"])", "input[0]", "must be an object"},
      {R"("input": [{"type": "item_reference", "id": "x"}])", "input[0]", "got \"item_reference\""},
      {R"("input": [{"role": "king", "content": "x"}])", "input[0].role", "got \"king\""},
      {R"("instructions": "i", "input": [{"role": "user", "content": "x"},
          {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}])",
       "input[1].content[0]", "reads text only"},
      {R"("input": [{"type": "function_call", "name": "f"}])", "input[0].call_id", "a string"},
      {R"("input": [{"type": "function_call_output", "call_id": "f"}])", "input[0].output",
       "a list"},
      {R"("input": "x", "max_output_tokens": 0)", "max_output_tokens", "got 0"},
      {R"("input": "x", "temperature": "hot")", "temperature", "got \"hot\""},
      {R"("input": "x", "background": true)", "background", "must be false"},
      {R"("input": "x", "truncation": "auto")", "truncation", "got \"auto\""},
      {R"("input": "x", "conversation": "c")", "conversation", "previous_response_id"},
      {R"("input": "x", "reasoning": {"effort": "high"})", "reasoning", "no reasoning"},
      {R"("input": "x", "text": {"verbosity": "low"})", "text.verbosity", "got \"low\""},
      {R"("input": "x", "text": {"format": 1})", "text.format", "got 1"},
      {R"("input": "x", "metadata": {"a": 1})", "metadata", "at most 16 strings"},
      {R"("input": "x", "include": ["web"])", "include", "got [\"web\"]"},
      {R"("input": "x", "tools": [{"type": "web_search"}])", "tools[0]", "must be \"function\""},
      {R"("input": "x", "tools": [{"type": "function", "name": ""}])", "tools[0].name", "letters"},
      {R"("input": "x", "tool_choice": {"type": "function", "name": "f"})", "tool_choice", "needs"},
      {R"("input": "x", "store": "no")", "store", "got \"no\""},
      {R"("input": "x", "stream": 1)", "stream", "got 1"},
  };
  for (const auto& c : cases) {
    const auto parsed = ParseResponses(absl::StrCat("{", c.fields, "}"), nullptr);
    ASSERT_FALSE(parsed.ok()) << c.fields;
    EXPECT_EQ(ErrorParam(parsed.status()), c.param) << c.fields << parsed.status();
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message)) << c.fields;
  }
}

TEST(ResponsesRequestTest, BodiesWithVeryManyFieldsAreRefused) {
  std::string body = "{\"input\": \"x\"";
  for (int i = 0; i < 10'000; ++i) absl::StrAppend(&body, ",\"f", i, "\":0");
  EXPECT_THAT(std::string(ParseResponses(body + "}", nullptr).status().message()),
              HasSubstr("at most 10000 fields"));
}

}  // namespace
}  // namespace quartet::gateway::http
