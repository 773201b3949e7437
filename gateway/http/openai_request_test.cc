#include "gateway/http/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

struct BadField {
  const char* json;     // Fields beside the prompt.
  const char* param;    // What the error must name.
  const char* message;  // What its message must contain.
};

// Wrong in completions and chat alike.
constexpr BadField kBadCommon[] = {
    {R"("temperature": "hot")", "temperature", "must be a number, got \"hot\""},
    {R"("temperature": true)", "temperature", "must be a number, got true"},
    {R"("top_p": [1])", "top_p", "must be a number, got [1]"},
    {R"("min_p": {})", "min_p", "must be a number"},
    {R"("top_k": 1.5)", "top_k", "whole number in [-1, 2147483647], got 1.5"},
    {R"("top_k": -2)", "top_k", "got -2"},
    {R"("repetition_penalty": "x")", "repetition_penalty", "must be a number"},
    {R"("presence_penalty": false)", "presence_penalty", "must be a number"},
    {R"("frequency_penalty": [])", "frequency_penalty", "must be a number"},
    {R"("max_tokens": -1)", "max_tokens", "got -1"},
    {R"("max_tokens": "many")", "max_tokens", "got \"many\""},
    {R"("max_tokens": 18446744073709551615)", "max_tokens", "got 18446744073709551615"},
    {R"("max_tokens": 1e30)", "max_tokens", "got 1e+30"},
    {R"("min_tokens": -1)", "min_tokens", "got -1"},
    {R"("n": 0)", "n", "whole number in [1, 128], got 0"},
    {R"("n": 129)", "n", "got 129"},
    {R"("seed": 1.5)", "seed", "must be a whole number, got 1.5"},
    {R"("stop": 5)", "stop", "a string or a list of strings, got 5"},
    {R"("stop": ["a", 1])", "stop", "got [\"a\",1]"},
    {R"("stop_token_ids": [-1])", "stop_token_ids", "a list of token ids, got [-1]"},
    {R"("stop_token_ids": 3)", "stop_token_ids", "a list of token ids, got 3"},
    {R"("logit_bias": [])", "logit_bias", "an object of token ids"},
    {R"("logit_bias": {"x": 1})", "logit_bias", "key \"x\", which is not a token id"},
    {R"("logit_bias": {"-1": 1})", "logit_bias", "key \"-1\""},
    {R"("logit_bias": {"1": "y"})", "logit_bias", "an object of token ids"},
    {R"("ignore_eos": 1)", "ignore_eos", "true or false, got 1"},
    {R"("skip_special_tokens": "no")", "skip_special_tokens", "true or false"},
    {R"("stream": "yes")", "stream", "true or false, got \"yes\""},
    {R"("stream_options": {"include_usage": true})", "stream_options", "with \"stream\": true"},
    {R"("stream": true, "stream_options": 1)", "stream_options", "an object, got 1"},
    {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage",
     "true or false"},
    {R"("model": 7)", "model", "must be a string, got 7"},
    {R"("user": 7)", "user", "must be a string"},
    {R"("priority": 1e12)", "priority", "whole number"},
    {R"("response_format": {"type": "xml"})", "response_format.type",
     "one of text, json_object, json_schema, structural_tag, got \"xml\""},
    {R"("response_format": 5)", "response_format", "an object with a type, got 5"},
    {R"("response_format": {"type": "json_schema"})", "response_format.json_schema",
     "an object with name and schema, got null"},
    {R"("response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}})",
     "response_format.json_schema.name", "letters, digits, - or _, got \"a b\""},
    {R"("response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": 3}})",
     "response_format.json_schema.schema", "an object, or a JSON text, got 3"},
    {R"("structured_outputs": {})", "structured_outputs", "one of json, regex, choice"},
    {R"("structured_outputs": {"regex": "a", "choice": ["b"]})", "structured_outputs.choice",
     "both structured_outputs.regex and structured_outputs.choice"},
    {R"("structured_outputs": {"json": "{"})", "structured_outputs.json", "is not a JSON object"},
    {R"("structured_outputs": {"json": {}, "whitespace_pattern": "x"})",
     "structured_outputs.whitespace_pattern", "other patterns are not supported, got \"x\""},
    {R"("guided_choice": ["a"], "response_format": {"type": "json_object"})", "guided_choice",
     "both response_format and guided_choice"},
    {R"("guided_choice": [])", "guided_choice", "must not be empty"},
    {R"("structured_outputs": {"regex": ""})", "structured_outputs.regex", "must not be empty"},
    {R"("guided_regex": "a", "guided_decoding_backend": "magic")", "guided_decoding_backend",
     "got \"magic\""},
    {R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens", "-1 or at least 1, got 0"},
    {R"("truncate_prompt_tokens": -2)", "truncate_prompt_tokens", "got -2"},
    {R"("truncation_side": "middle")", "truncation_side", "one of left, right"},
    {R"("bad_words": "x")", "bad_words", "a list of strings"},
    {R"("allowed_token_ids": [1.5])", "allowed_token_ids", "a list of token ids"},
    {R"("prompt_logprobs": 21)", "prompt_logprobs", "[0, 20], got 21"},
    {R"("prompt_logprobs": 0, "stream": true)", "prompt_logprobs", "can't be combined"},
    {R"("service_tier": "gold")", "service_tier", "one of auto, default, flex"},
    {R"("metadata": {"a": 1})", "metadata", "an object of at most 16 strings"},
    {R"("stream_interval": 0)", "stream_interval", "got 0"},
    {R"("repetition_detection": [])", "repetition_detection", "an object with"},
    {R"("length_penalty": "x")", "length_penalty", "must be a number"},
    {R"("return_token_ids": 1)", "return_token_ids", "true or false"},
    {R"("audio": {"voice": "alloy"})", "audio", "ask for text"},
    {R"("logits_processors": ["x"])", "logits_processors", "code of a client is not run"},
    {R"("kv_transfer_params": {"a": 1})", "kv_transfer_params", "not supported"},
};

void ExpectBad(const absl::StatusOr<OpenAiRequest>& parsed, const BadField& bad) {
  ASSERT_FALSE(parsed.ok()) << bad.json;
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_EQ(ErrorParam(parsed.status()), bad.param) << bad.json;
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(bad.message)) << bad.json;
}

absl::StatusOr<OpenAiRequest> Completion(const std::string& fields) {
  return ParseCompletion(absl::StrCat(R"({"prompt": "x", )", fields, "}"));
}

absl::StatusOr<OpenAiRequest> Chat(const std::string& fields) {
  return ParseChatCompletion(
      absl::StrCat(R"({"messages": [{"role": "user", "content": "x"}], )", fields, "}"));
}

TEST(OpenAiRequestTest, NamesTheFieldAndTheValueInBothFaces) {
  for (const BadField& bad : kBadCommon) {
    ExpectBad(Completion(bad.json), bad);
    ExpectBad(Chat(bad.json), bad);
  }
}

TEST(OpenAiRequestTest, RefusesBadCompletions) {
  constexpr BadField kBad[] = {
      {R"("prompt": 5)", "prompt", "got 5"},
      {R"("prompt": [])", "prompt", "none of them empty, got []"},
      {R"("prompt": [[]])", "prompt", "got [[]]"},
      {R"("prompt": ["a", 1])", "prompt", "got [\"a\",1]"},
      {R"("prompt": [1, -1])", "prompt", "got [1,-1]"},
      {R"("prompt": null)", "prompt", "you must provide a prompt"},
      {R"("prompt": "x", "suffix": 5)", "suffix", "must be a string"},
      {R"("prompt": "x", "best_of": 2, "n": 3)", "best_of", "best_of 2 and n 3"},
      {R"("prompt": "x", "best_of": 2, "stream": true)", "best_of", "known at the end only"},
      {R"("prompt": "x", "logprobs": true)", "logprobs", "got true"},
      {R"("prompt": "x", "logprobs": 21)", "logprobs", "[0, 20], got 21"},
      {R"("prompt": "x", "echo": "loud")", "echo", "true or false"},
      {R"("prompt": "x", "max_tokens": 0)", "max_tokens", "at least 1 without echo"},
  };
  for (const BadField& bad : kBad) {
    ExpectBad(ParseCompletion(absl::StrCat("{", bad.json, "}")), bad);
  }
}

TEST(OpenAiRequestTest, RefusesBadChats) {
  constexpr BadField kBad[] = {
      {R"("a": 1)", "messages", "at least one message, got null"},
      {R"("messages": [])", "messages", "got []"},
      {R"("messages": "hi")", "messages", "got \"hi\""},
      {R"("messages": [{"role": "user", "content": "hi"}], "store": "yes")", "store",
       "true or false, got \"yes\""},
      {R"("messages": ["hi"])", "messages", "messages[0] must be an object"},
      {R"("messages": [{"role": "king", "content": "x"}])", "messages[0].role", "got \"king\""},
      {R"("messages": [{"content": "x"}])", "messages[0].role", "got null"},
      {R"("messages": [{"role": "user"}])", "messages[0].content", "got null"},
      {R"("messages": [{"role": "user", "content": 3}])", "messages[0].content", "got 3"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url"}]}])",
       "messages[0].content[0]", "is of type \"image_url\": the model reads text only"},
      {R"("messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}])",
       "messages[0].tool_calls", "a list of"},
      {R"("messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}])",
       "messages[0].tool_calls[0].function.name", "must be a string, got 1"},
      {R"("messages": [{"role": "user", "content": "x"}], "logprobs": 3)", "logprobs", "got 3"},
      {R"("messages": [{"role": "user", "content": "x"}], "top_logprobs": 3)", "top_logprobs",
       "with \"logprobs\": true"},
      {R"("messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 0)",
       "max_completion_tokens", "got 0"},
      {R"("messages": [{"role": "user", "content": "x"}], "reasoning_effort": "huge")",
       "reasoning_effort", "one of none"},
      {R"("messages": [{"role": "user", "content": "x"}], "modalities": ["text", "audio"])",
       "modalities", "send [\"text\"]"},
      {R"("messages": [{"role": "user", "content": "x"}], "prediction": {"type": 3})", "prediction",
       "\"content\""},
  };
  for (const BadField& bad : kBad) {
    ExpectBad(ParseChatCompletion(absl::StrCat("{", bad.json, "}")), bad);
  }
}

TEST(OpenAiRequestTest, RefusesBodiesThatAreNoObjects) {
  const struct {
    std::string body;
    const char* message;
  } cases[] = {
      {"", "parse"},
      {"{", "line 1, column 2"},
      {"{\"prompt\":\n nope}", "line 2"},
      {"7", "must be a JSON object, got 7"},
      {"{\"prompt\": \"\xE7\x89\"}", "not valid UTF-8: byte 12 is 0xe7"},
      {"{\"prompt\": \"\\ud800\"}", "parse"},
      {"{\"temperature\": 1e999}", "parse"},
      {std::string(1'000'000, '['), "nested deeper than 100"},
      {"{} {}", "parse"},
  };
  for (const auto& c : cases) {
    const auto parsed = ParseCompletion(c.body);
    ASSERT_FALSE(parsed.ok()) << c.body.substr(0, 50);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message));
    EXPECT_LT(parsed.status().message().size(), 500u);
  }
}

TEST(OpenAiRequestTest, ReadsEverySamplingField) {
  const auto parsed = Completion(
      R"("temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1,
         "presence_penalty": 0.2, "frequency_penalty": -0.3, "logit_bias": {"5": -100, "7": 1.5},
         "seed": -1, "max_tokens": 12.0, "min_tokens": 3, "ignore_eos": true,
         "stop_token_ids": [1, 2], "stop": "END", "n": 2, "best_of": 2, "logprobs": 3,
         "echo": true, "priority": -4, "cache_salt": "s", "user": "u", "unknown": {"a": 1},
         "skip_special_tokens": false, "model": "m", "suffix": null, "stream": true,
         "stream_options": {"include_usage": true}, "response_format": {"type": "text"})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->stream && parsed->include_usage && parsed->logprobs && !parsed->chat);
  EXPECT_EQ(parsed->n, 2u);
  ASSERT_THAT(parsed->prompts, SizeIs(1));
  const GenerationRequest& request = parsed->prompts[0];
  const SamplingParams& p = request.sampling;
  EXPECT_FLOAT_EQ(*p.temperature, 0.5);
  EXPECT_FLOAT_EQ(*p.top_p, 0.9f);
  EXPECT_EQ(p.top_k, 40);
  EXPECT_FLOAT_EQ(*p.min_p, 0.1f);
  EXPECT_FLOAT_EQ(*p.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(*p.presence_penalty, 0.2f);
  EXPECT_FLOAT_EQ(*p.frequency_penalty, -0.3f);
  EXPECT_THAT(p.logit_bias, ElementsAre(Pair(5, -100), Pair(7, 1.5)));
  EXPECT_EQ(p.seed, UINT64_MAX);
  EXPECT_EQ(p.max_tokens, 12u);
  EXPECT_EQ(p.min_tokens, 3u);
  EXPECT_EQ(p.ignore_eos, true);
  EXPECT_THAT(p.stop_token_ids, ElementsAre(1, 2));
  EXPECT_EQ(p.logprobs, 3u);
  EXPECT_EQ(p.prompt_logprobs, 3u) << "echo with logprobs";
  EXPECT_THAT(request.stop, ElementsAre("END"));
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.priority, -4);
  EXPECT_EQ(request.cache_salt, "s");
  EXPECT_FALSE(request.skip_special_tokens);
  EXPECT_TRUE(request.echo && request.wants_pieces);
}

TEST(OpenAiRequestTest, LeavesUnsetWhatTheClientLeftOut) {
  const auto parsed = Completion(R"("temperature": null, "seed": null, "stop": null)");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const SamplingParams& p = parsed->prompts[0].sampling;
  EXPECT_FALSE(p.temperature || p.top_p || p.top_k || p.seed || p.max_tokens || p.logprobs ||
               p.ignore_eos || p.prompt_logprobs);
  EXPECT_FALSE(parsed->stream || parsed->logprobs);
}

TEST(OpenAiRequestTest, ReadsAllKindsOfMessages) {
  const auto parsed = ParseChatCompletion(R"({"messages": [
      {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "user", "content": "q", "name": "ann"},
      {"role": "assistant", "content": null, "tool_calls": [
          {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "42"}],
      "tools": [{"type": "function", "function": {"zebra": 1, "name": "f", "apple": [1, 2.5]}}],
      "tool_choice": "auto", "logprobs": true, "max_completion_tokens": 9})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GenerationRequest& request = parsed->prompts[0];
  const auto& chat = std::get<ChatPrompt>(request.prompt);
  ASSERT_THAT(chat.messages, SizeIs(4));
  EXPECT_EQ(chat.messages[0].role, "system");
  EXPECT_EQ(chat.messages[0].content, "ab");
  EXPECT_EQ(chat.messages[1].name, "ann");
  EXPECT_EQ(chat.messages[2].tool_calls[0].arguments_json, "{\"x\": 1}");
  EXPECT_EQ(chat.messages[3].tool_call_id, "c1");
  EXPECT_THAT(
      chat.tools_json,
      ElementsAre(R"({"type":"function","function":{"zebra":1,"name":"f","apple":[1,2.5]}})"))
      << "keys in the client's order";
  EXPECT_TRUE(chat.add_generation_prompt);
  EXPECT_EQ(request.sampling.max_tokens, 9u);
  EXPECT_EQ(request.sampling.logprobs, 0u);
}

TEST(OpenAiRequestTest, ToolChoiceNoneHidesTheTools) {
  const auto parsed =
      Chat(R"("tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none")");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(std::get<ChatPrompt>(parsed->prompts[0].prompt).tools_json, SizeIs(0));
}

TEST(OpenAiRequestTest, ReadsWhatVllmAdds) {
  const auto parsed = Completion(
      R"("allowed_token_ids": [1, 2], "bad_words": ["no"], "include_stop_str_in_output": true,
         "truncate_prompt_tokens": -1, "truncation_side": "right", "add_special_tokens": false,
         "suffix": "tail", "best_of": 4, "n": 2, "prompt_logprobs": 2, "return_token_ids": true,
         "return_tokens_as_token_ids": true, "stream_interval": 5, "request_id": "mine",
         "use_beam_search": true, "length_penalty": 0.5,
         "repetition_detection": {"max_pattern_size": 4, "min_count": 3}, "user": "u",
         "safety_identifier": "s", "service_tier": "flex", "metadata": {"a": "b"},
         "spaces_between_special_tokens": false, "prompt_cache_key": "k", "store": false)");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->token_ids && parsed->tokens_as_ids && parsed->prompt_logprobs);
  EXPECT_EQ(parsed->stream_interval, 5u);
  EXPECT_EQ(parsed->request_id, "mine");
  EXPECT_EQ(parsed->end_user, "s");
  EXPECT_EQ(parsed->service_tier, "flex");
  EXPECT_EQ(parsed->metadata_json, R"({"a":"b"})");
  const GenerationRequest& request = parsed->prompts[0];
  EXPECT_THAT(request.sampling.allowed_token_ids, ElementsAre(1, 2));
  EXPECT_THAT(request.bad_words, ElementsAre("no"));
  EXPECT_TRUE(request.include_stop_in_output && request.truncate_keeps_start);
  EXPECT_EQ(request.truncate_prompt_tokens, kTruncateToFit);
  EXPECT_EQ(request.add_special_tokens, false);
  EXPECT_EQ(request.suffix, "tail");
  EXPECT_EQ(request.best_of, 4u);
  EXPECT_EQ(request.priority, 1) << "flex gives way";
  EXPECT_TRUE(request.use_beam_search && request.wants_pieces);
  EXPECT_FLOAT_EQ(request.length_penalty, 0.5);
  ASSERT_TRUE(request.repetition_detection.has_value());
  EXPECT_EQ(request.repetition_detection->min_pattern_size, 1u);
  EXPECT_EQ(request.repetition_detection->max_pattern_size, 4u);
  const auto stream = Completion(
      R"("stream": true, "stream_options": {"continuous_usage_stats": true,
         "include_obfuscation": true}, "service_tier": "priority", "priority": 3)");
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_TRUE(stream->continuous_usage && stream->obfuscate);
  EXPECT_EQ(stream->prompts[0].priority, 3) << "what is said in numbers counts";
}

TEST(OpenAiRequestTest, RefusedFieldsPassWithValuesThatAskForNothing) {
  const auto parsed = Chat(
      R"("audio": null, "modalities": ["text"], "store": false, "logits_processors": [],
         "vllm_xargs": {}, "thinking_token_budget": -1, "prompt_cache_retention": "in_memory",
         "watermarking": false, "return_mm_kwargs": true, "web_search_options": null)");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
}

TEST(OpenAiRequestTest, TemplatesHearOfEffortAndVerbosity) {
  auto parsed = Chat(R"("reasoning_effort": "none", "verbosity": "low", "echo": true)");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(std::get<ChatPrompt>(parsed->prompts[0].prompt).template_kwargs_json,
            R"({"reasoning_effort":"none","enable_thinking":false,"verbosity":"low"})");
  EXPECT_EQ(parsed->prompts[0].echo_text, "") << "the last message is not the assistant's";
  parsed = ParseChatCompletion(
      R"({"messages": [{"role": "assistant", "content": "So"}], "echo": true})");
  EXPECT_EQ(parsed->prompts[0].echo_text, "So");
}

TEST(OpenAiRequestTest, SurvivesMutatedBodies) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string bodies[] = {
      R"({"prompt": ["a", "牛"], "max_tokens": 3, "stop": ["x"], "logit_bias": {"5": -1}, "n": 2})",
      R"({"messages": [{"role": "assistant", "content": [{"type": "text", "text": "q"}],
          "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}],
          "tools": [{"type": "function", "function": {"name": "f"}}], "stream": true,
          "stream_options": {"include_usage": true}, "seed": 5, "top_p": 0.5,
          "structured_outputs": {"json": {"properties": {"a": {"enum": [1]}}},
          "disable_additional_properties": true}, "metadata": {"a": "b"}})"};
  constexpr char kSigns[] = "{}[]\",:0-1eE.ntx\\ \xff\xe7";
  for (int round = 0; round < 20'000; ++round) {
    std::string body = bodies[round % 2];
    for (size_t i = 1 + random() % 4; i > 0; --i) {
      const size_t at = random() % body.size();
      const char sign = kSigns[random() % (sizeof(kSigns) - 1)];
      switch (random() % 3) {
        case 0:
          body[at] = sign;
          break;
        case 1:
          body.insert(at, 1, sign);
          break;
        default:
          body.erase(at, 1 + random() % 8);
          break;
      }
    }
    for (const auto& parsed : {ParseCompletion(body), ParseChatCompletion(body)}) {
      if (parsed.ok()) continue;
      ASSERT_TRUE(absl::IsInvalidArgument(parsed.status())) << body;
      ASSERT_FALSE(parsed.status().message().empty()) << body;
    }
  }
}

}  // namespace
}  // namespace quartet::gateway::http
