#include "gateway/request_validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "gateway/request_error.h"

namespace quartet::gateway {
namespace {

using ::testing::HasSubstr;

// A conversation of one turn.
ChatPrompt Chat(std::string role) {
  ChatPrompt chat;
  chat.messages.emplace_back().role = std::move(role);
  return chat;
}

ModelFacts Model() { return {"m", 1000, 300, {256}, true, FillInMiddleIds{260, 261, 262}}; }

TEST(RequestValidationTest, TakesTheBordersOfEveryRange) {
  GenerationRequest request;
  request.prompt = "x";
  request.n = 128;
  request.stop = std::vector<std::string>(16, std::string(1024, 's'));
  SamplingParams& p = request.sampling;
  p.temperature = 0;
  p.top_p = 1;
  p.top_k = -1;
  p.min_p = 1;
  p.repetition_penalty = 100;
  p.presence_penalty = -2;
  p.frequency_penalty = 2;
  p.logit_bias = {{0, -100}, {299, 100}};
  p.max_tokens = 1;
  p.min_tokens = 1;
  p.logprobs = 20;
  p.stop_token_ids = {299};
  EXPECT_TRUE(ValidateRequest(request, Model()).ok()) << ValidateRequest(request, Model());
}

TEST(RequestValidationTest, NamesTheFieldThatIsOutOfRange) {
  const struct {
    const char* param;
    std::function<void(GenerationRequest&)> spoil;
  } cases[] = {
      {"temperature", [](auto& r) { r.sampling.temperature = 100.5; }},
      {"temperature", [](auto& r) { r.sampling.temperature = NAN; }},
      {"top_p", [](auto& r) { r.sampling.top_p = 0; }},
      {"top_p", [](auto& r) { r.sampling.top_p = INFINITY; }},
      {"top_k", [](auto& r) { r.sampling.top_k = -2; }},
      {"min_p", [](auto& r) { r.sampling.min_p = -0.1; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = 0; }},
      {"presence_penalty", [](auto& r) { r.sampling.presence_penalty = 2.5; }},
      {"frequency_penalty", [](auto& r) { r.sampling.frequency_penalty = -3; }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{300, 1}};
       }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{1, 101}};
       }},
      {"max_tokens", [](auto& r) { r.sampling.max_tokens = 0; }},
      {"min_tokens",
       [](auto& r) {
         r.sampling.max_tokens = 3;
         r.sampling.min_tokens = 4;
       }},
      {"logprobs", [](auto& r) { r.sampling.logprobs = 21; }},
      {"prompt_logprobs", [](auto& r) { r.sampling.prompt_logprobs = 21; }},
      {"stop_token_ids", [](auto& r) { r.sampling.stop_token_ids = {300}; }},
      {"n", [](auto& r) { r.n = 0; }},
      {"n", [](auto& r) { r.n = 129; }},
      {"stop",
       [](auto& r) {
         r.stop = {"a", ""};
       }},
      {"stop", [](auto& r) { r.stop = std::vector<std::string>(17, "a"); }},
      {"stop", [](auto& r) { r.stop = {std::string(1025, 'a')}; }},
      {"stop", [](auto& r) { r.stop = {"\xFF"}; }},
      {"request_id", [](auto& r) { r.request_id = "a b"; }},
      {"request_id", [](auto& r) { r.request_id = "a\r\nSet-Cookie: x"; }},
      {"request_id", [](auto& r) { r.request_id = std::string(257, 'i'); }},
      {"allowed_token_ids", [](auto& r) { r.sampling.allowed_token_ids = {300}; }},
      {"allowed_token_ids", [](auto& r) { r.sampling.allowed_token_ids.assign(65'537, 1); }},
      {"banned_sequences", [](auto& r) { r.sampling.banned_sequences = {{}}; }},
      {"banned_sequences",
       [](auto& r) {
         r.sampling.banned_sequences = {{1, 300}};
       }},
      {"bad_words", [](auto& r) { r.bad_words = {"  "}; }},
      {"bad_words", [](auto& r) { r.bad_words = {std::string(257, 'w')}; }},
      {"bad_words", [](auto& r) { r.bad_words.assign(257, "w"); }},
      {"bad_words", [](auto& r) { r.bad_words = {"\xFF"}; }},
      {"best_of",
       [](auto& r) {
         r.n = 3;
         r.best_of = 2;
       }},
      {"best_of", [](auto& r) { r.best_of = 129; }},
      {"truncate_prompt_tokens", [](auto& r) { r.truncate_prompt_tokens = 0; }},
      {"suffix", [](auto& r) { r.suffix = "\xE7"; }},
      {"suffix",
       [](auto& r) {
         r.suffix = "x";
         r.echo = true;
       }},
      {"suffix",
       [](auto& r) {
         r.suffix = "x";
         r.truncate_prompt_tokens = 1;
       }},
      {"suffix",
       [](auto& r) {
         r.suffix = "x";
         r.prompt.template emplace<TokenIds>({1u});
       }},
      {"repetition_detection",
       [](auto& r) {
         r.repetition_detection = {3, 2, 2};
       }},
      {"repetition_detection.min_count",
       [](auto& r) {
         r.repetition_detection = {1, 2, 1};
       }},
      {"structured_output",
       [](auto& r) { r.structured_output.emplace().kind = StructuredOutput::Kind::kChoice; }},
      {"structured_output",
       [](auto& r) { r.structured_output.emplace().kind = StructuredOutput::Kind::kRegex; }},
      {"structured_output",
       [](auto& r) { r.structured_output.emplace().text = std::string(200'000, 's'); }},
      {"n",
       [](auto& r) {
         r.use_beam_search = true;
         r.n = 11;
       }},
      {"stop",
       [](auto& r) {
         r.use_beam_search = true;
         r.stop = {"a"};
       }},
      {"length_penalty",
       [](auto& r) {
         r.use_beam_search = true;
         r.length_penalty = NAN;
       }},
      {"prompt",
       [](auto& r) {
         r.prompt.template emplace<TokenIds>({1u, 300u});
       }},
      {"prompt", [](auto& r) { r.prompt.template emplace<std::string>("bad \xE7\x89"); }},
      {"messages", [](auto& r) { r.prompt.template emplace<ChatPrompt>(); }},
      {"messages", [](auto& r) { r.prompt.template emplace<ChatPrompt>(Chat("king")); }},
  };
  for (const auto& c : cases) {
    GenerationRequest request;
    request.prompt = "x";
    c.spoil(request);
    const absl::Status status = ValidateRequest(request, Model());
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.param;
    EXPECT_EQ(ErrorParam(status), c.param) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.param));
  }
}

TEST(RequestValidationTest, AModelWithoutTemplateTakesNoChat) {
  GenerationRequest request;
  request.prompt.emplace<ChatPrompt>(Chat("user"));
  ModelFacts model = Model();
  model.has_chat_template = false;
  EXPECT_THAT(std::string(ValidateRequest(request, model).message()),
              HasSubstr("no chat template"));
  std::get<ChatPrompt>(request.prompt).chat_template = "{{ messages[0].content }}";
  EXPECT_TRUE(ValidateRequest(request, model).ok());
}

TEST(RequestValidationTest, AModelThatCannotFillInTheMiddleSaysSo) {
  GenerationRequest request;
  request.prompt = "x";
  request.suffix = "y";
  EXPECT_TRUE(ValidateRequest(request, Model()).ok());
  ModelFacts model = Model();
  model.fill_in_middle.reset();
  EXPECT_THAT(std::string(ValidateRequest(request, model).message()),
              HasSubstr("not taught to fill in the middle"));
}

TEST(RequestValidationTest, ResolvesMaxTokens) {
  GenerationRequest request;
  request.prompt = "x";
  EXPECT_EQ(*ResolveMaxTokens(request, 10, Model()), 16u);
  EXPECT_EQ(*ResolveMaxTokens(request, 999, Model()), 1u);
  EXPECT_FALSE(ResolveMaxTokens(request, 1000, Model()).ok());
  EXPECT_FALSE(ResolveMaxTokens(request, 0, Model()).ok());
  request.sampling.max_tokens = 990;
  EXPECT_EQ(*ResolveMaxTokens(request, 10, Model()), 990u);
  EXPECT_FALSE(ResolveMaxTokens(request, 11, Model()).ok());
  request.sampling.max_tokens = UINT32_MAX;
  EXPECT_FALSE(ResolveMaxTokens(request, 11, Model()).ok());
  request.sampling.max_tokens.reset();
  request.prompt.emplace<ChatPrompt>();
  ModelFacts large = Model();
  large.max_model_len = 32768;
  EXPECT_EQ(*ResolveMaxTokens(request, 10, large), 8192u);
  EXPECT_EQ(*ResolveMaxTokens(request, 32760, large), 8u);
}

}  // namespace
}  // namespace quartet::gateway
