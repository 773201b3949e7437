#include "gateway/http/openai_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/http/response_head.h"
#include "gateway/http/sse.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TokenLogprob Alternative(std::string piece, float logprob) {
  TokenLogprob token;
  token.piece = std::move(piece);
  token.logprob = logprob;
  return token;
}

OutputToken Token(const std::string& piece, float logprob, size_t text_offset) {
  OutputToken token;
  token.text_offset = text_offset;
  token.logprobs.emplace();
  token.logprobs->token = Alternative(piece, logprob);
  return token;
}

ResponseShape Shape(bool chat, bool logprobs) {
  ResponseShape shape;
  shape.chat = chat;
  shape.logprobs = logprobs;
  shape.id = "id-1";
  shape.created = 12;
  shape.model = "m";
  return shape;
}

TEST(OpenAiResponseTest, CompletionHasOpenAisShapeToTheLetter) {
  Answer answer;
  answer.content.text = "Hi \"you\"\n";
  answer.finish_reason = FinishReason::kStop;
  EXPECT_EQ(ResponseBody(Shape(false, false), {answer}, {3, 4, 2}),
            R"({"id":"id-1","object":"text_completion","created":12,"model":"m","choices":[)"
            R"({"index":0,"text":"Hi \"you\"\n","logprobs":null,"finish_reason":"stop"}],)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,)"
            R"("prompt_tokens_details":{"cached_tokens":2}}})");
}

TEST(OpenAiResponseTest, ChatHasOpenAisShapeToTheLetter) {
  Answer answer;
  answer.content.text = "Hi";
  answer.finish_reason = FinishReason::kLength;
  EXPECT_EQ(
      ResponseBody(Shape(true, false), {answer}, {1, 1, 0}),
      R"({"id":"id-1","object":"chat.completion","created":12,"model":"m","choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},)"
      R"("logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,)"
      R"("completion_tokens":1,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}})");
}

TEST(OpenAiResponseTest, ChunksHaveOpenAisShapeToTheLetter) {
  const ResponseShape chat = Shape(true, false);
  constexpr char kHead[] =
      R"({"id":"id-1","object":"chat.completion.chunk","created":12,"model":"m","choices":[)";
  DeltaEvent delta;
  delta.index = 1;
  delta.text = "牛";
  EXPECT_EQ(
      RoleChunk(chat, 1),
      absl::StrCat(
          kHead,
          R"({"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"));
  EXPECT_EQ(
      DeltaChunk(chat, delta),
      absl::StrCat(
          kHead, R"({"index":1,"delta":{"content":"牛"},"logprobs":null,"finish_reason":null}]})"));
  EXPECT_EQ(
      FinishChunk(chat, 1, FinishReason::kStop),
      absl::StrCat(kHead, R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"stop"}]})"));
  ResponseShape completion = Shape(false, false);
  completion.include_usage = true;
  EXPECT_EQ(DeltaChunk(completion, delta),
            R"({"id":"id-1","object":"text_completion","created":12,"model":"m","choices":[)"
            R"({"index":1,"text":"牛","logprobs":null,"finish_reason":null}],"usage":null})");
  EXPECT_EQ(json::parse(UsageChunk(completion, {1, 2, 0}))["choices"], json::array());
}

TEST(OpenAiResponseTest, CompletionLogprobsShowBytesOffsetsAndNoInfinity) {
  Answer answer;
  OutputToken last = Token("x", -1, 1);
  last.logprobs->top = {Alternative("y", -0.25),
                        Alternative("\x89", -std::numeric_limits<float>::infinity())};
  OutputToken hidden = Token("<end>", -1, 2);
  hidden.hidden = true;
  answer.content.tokens = {Token("\xE7\x89", -2, 0), last, hidden};
  const json body = json::parse(ResponseBody(Shape(false, true), {answer}, {}));
  const json& logprobs = body["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], json({"bytes:\\xe7\\x89", "x"}));
  EXPECT_EQ(logprobs["text_offset"], json({0, 1}));
  EXPECT_EQ(logprobs["token_logprobs"], json({-2.0, -1.0}));
  EXPECT_EQ(logprobs["top_logprobs"][1],
            json({{"y", -0.25}, {"bytes:\\x89", -9999.0}, {"x", -1.0}}));
}

TEST(OpenAiResponseTest, ChatLogprobsHaveBytes) {
  Answer answer;
  answer.content.tokens = {Token("牛", -2, 0)};
  answer.content.tokens[0].logprobs->top.resize(1);
  const json body = json::parse(ResponseBody(Shape(true, true), {answer}, {}));
  const json& logprobs = body["choices"][0]["logprobs"];
  EXPECT_TRUE(logprobs["refusal"].is_null());
  EXPECT_EQ(logprobs["content"][0]["token"], "牛");
  EXPECT_EQ(logprobs["content"][0]["bytes"], json({0xE7, 0x89, 0x9B}));
  EXPECT_EQ(logprobs["content"][0]["top_logprobs"].size(), 1u);
}

TEST(OpenAiResponseTest, ErrorsKeepFieldCodeAndRetryDelay) {
  HttpResponse response = ErrorResponse(InvalidField("n", "n is wrong", "bad_n"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(
      response.body,
      R"({"error":{"message":"n is wrong","type":"invalid_request_error","param":"n","code":"bad_n"}})");
  response = ErrorResponse(TryLater("full", 3));
  EXPECT_EQ(response.status, 429);
  EXPECT_THAT(response.headers, ElementsAre(Pair("Retry-After", "3")));
  EXPECT_EQ(ErrorResponse(absl::UnavailableError("x")).status, 503);
  EXPECT_EQ(ErrorResponse(absl::DeadlineExceededError("x")).status, 504);
  EXPECT_EQ(ErrorResponse(absl::InternalError("x")).status, 500);
  EXPECT_THAT(ErrorBody(absl::InternalError("broken \xFF bytes")), HasSubstr("broken"));
}

TEST(SseTest, FramesEvents) {
  EXPECT_EQ(SseEvent("{}"), "data: {}\n\n");
  EXPECT_EQ(std::string(kSseDone), "data: [DONE]\n\n");
}

TEST(ResponseHeadTest, FramesBodies) {
  HttpResponse response;
  response.status = 429;
  response.headers = {{"Retry-After", "1"}};
  response.body = "12345";
  const std::string head = ResponseHead(response, Framing::kLength, true);
  EXPECT_EQ(head.substr(0, 32), "HTTP/1.1 429 Too Many Requests\r\n");
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: 5\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nRetry-After: 1\r\n"));
  EXPECT_EQ(head.substr(head.size() - 4), "\r\n\r\n");
  EXPECT_THAT(ResponseHead(response, Framing::kChunked, false),
              HasSubstr("Transfer-Encoding: chunked\r\nConnection: close\r\n"));
  std::string chunks;
  AppendChunk(std::string(17, 'x'), &chunks);
  AppendChunk("y", &chunks);
  EXPECT_EQ(chunks, "11\r\nxxxxxxxxxxxxxxxxx\r\n1\r\ny\r\n");
}

}  // namespace
}  // namespace quartet::gateway::http
