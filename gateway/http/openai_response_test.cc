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
  answer.finished.reason = FinishReason::kStop;
  EXPECT_EQ(
      ResponseBody(Shape(false, false), {answer}, {{}}, {3, 4, 2}),
      R"({"id":"id-1","object":"text_completion","created":12,"model":"m","system_fingerprint":null,"choices":[)"
      R"({"index":0,"text":"Hi \"you\"\n","logprobs":null,"finish_reason":"stop","stop_reason":null}],)"
      R"("usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,)"
      R"("prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}})");
}

TEST(OpenAiResponseTest, ChatHasOpenAisShapeToTheLetter) {
  Answer answer;
  answer.content.text = "Hi";
  answer.finished.reason = FinishReason::kLength;
  EXPECT_EQ(
      ResponseBody(Shape(true, false), {answer}, {{}}, {1, 1, 0}),
      R"({"id":"id-1","object":"chat.completion","created":12,"model":"m","system_fingerprint":null,"choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},)"
      R"("logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":1,)"
      R"("completion_tokens":1,"total_tokens":2,)"
      R"("prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}})");
}

TEST(OpenAiResponseTest, ChunksHaveOpenAisShapeToTheLetter) {
  const ResponseShape chat = Shape(true, false);
  constexpr char kHead[] =
      R"({"id":"id-1","object":"chat.completion.chunk","created":12,"model":"m","system_fingerprint":null,"choices":[)";
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
      FinishChunk(chat, {1, FinishReason::kStop, "end", std::nullopt}),
      absl::StrCat(
          kHead,
          R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":"end"}]})"));
  ResponseShape completion = Shape(false, false);
  completion.include_usage = true;
  EXPECT_EQ(
      DeltaChunk(completion, delta),
      R"({"id":"id-1","object":"text_completion","created":12,"model":"m","system_fingerprint":null,"choices":[)"
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
  const json body = json::parse(ResponseBody(Shape(false, true), {answer}, {{}}, {}));
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
  const json body = json::parse(ResponseBody(Shape(true, true), {answer}, {{}}, {}));
  const json& logprobs = body["choices"][0]["logprobs"];
  EXPECT_TRUE(logprobs["refusal"].is_null());
  EXPECT_EQ(logprobs["content"][0]["token"], "牛");
  EXPECT_EQ(logprobs["content"][0]["bytes"], json({0xE7, 0x89, 0x9B}));
  EXPECT_EQ(logprobs["content"][0]["top_logprobs"].size(), 1u);
}

TEST(OpenAiResponseTest, ShowsWhatVllmShows) {
  ResponseShape shape = Shape(false, true);
  shape.token_ids = shape.tokens_as_ids = shape.prompt_logprobs = true;
  shape.service_tier = "flex";
  shape.metadata_json = R"({"a":"b"})";
  shape.system_fingerprint = "fp_1";
  Answer answer;
  OutputToken hidden = Token("<end>", -1, 2);
  hidden.id = 9;
  hidden.hidden = true;
  OutputToken token = Token("x", -1, 0);
  token.id = 5;
  token.logprobs->token.token_id = 5;
  answer.content.tokens = {token, hidden};
  answer.content.prompt_tokens.resize(2);
  PositionLogprobs position;
  position.token = Alternative("y", -3);
  position.token.token_id = 7;
  position.token.rank = 4;
  answer.content.prompt_tokens[1].logprobs = position;
  answer.finished.stop_token_id = 9;
  const json body = json::parse(ResponseBody(shape, {answer}, {{{1, 7}, "p"}}, {}));
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["token_ids"], json({5, 9}));
  EXPECT_EQ(choice["prompt_token_ids"], json({1, 7}));
  EXPECT_EQ(choice["stop_reason"], 9);
  EXPECT_EQ(choice["logprobs"]["tokens"], json({"token_id:5"})) << "the prompt is not echoed";
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][0], json({{"token_id:5", -1.0}}));
  EXPECT_EQ(choice["prompt_logprobs"].dump(),
            R"([null,{"7":{"decoded_token":"y","logprob":-3.0,"rank":4}}])");
  EXPECT_EQ(body["service_tier"], "flex");
  EXPECT_EQ(body["metadata"], json({{"a", "b"}}));
  EXPECT_EQ(body["system_fingerprint"], "fp_1");
  EXPECT_EQ(body["prompt_text"], "p");
  shape.chat = true;
  const json chat = json::parse(ResponseBody(shape, {answer}, {{{1, 7}, ""}}, {}));
  EXPECT_EQ(chat["prompt_token_ids"], json({1, 7}));
  EXPECT_EQ(chat["prompt_logprobs"].size(), 2u);
}

TEST(OpenAiResponseTest, ChunksCarryExtrasAndPadding) {
  ResponseShape shape = Shape(true, false);
  shape.token_ids = shape.obfuscate = true;
  const UsageEvent usage{3, 4, 0};
  const PromptFacts prompt{{1, 2}, ""};
  DeltaEvent delta;
  delta.text = "x";
  delta.tokens.emplace_back().id = 5;
  const std::string text = DeltaChunk(shape, delta, {&usage, &prompt});
  const json chunk = json::parse(text);
  EXPECT_EQ(chunk["usage"]["completion_tokens"], 4);
  EXPECT_EQ(chunk["prompt_token_ids"], json({1, 2}));
  EXPECT_EQ(chunk["choices"][0]["token_ids"], json({5}));
  EXPECT_EQ(text.size() % 128, 0u) << "whatever the text";
  delta.text = "xyz";
  EXPECT_EQ(DeltaChunk(shape, delta, {&usage, &prompt}).size(), text.size());
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
