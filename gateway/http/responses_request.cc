#include "gateway/http/responses_request.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"
#include "gateway/http/common_fields.h"
#include "gateway/http/json_body.h"
#include "gateway/http/responses_items.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

// Of the same name and meaning in chat requests. Those behind the first line are not OpenAI's.
constexpr const char* kSameInChat[] = {"model",
                                       "temperature",
                                       "top_p",
                                       "top_logprobs",
                                       "parallel_tool_calls",
                                       "user",
                                       "safety_identifier",
                                       "prompt_cache_key",
                                       "service_tier",
                                       "seed",
                                       "stop",
                                       "top_k",
                                       "min_p",
                                       "min_tokens",
                                       "repetition_penalty",
                                       "presence_penalty",
                                       "frequency_penalty",
                                       "logit_bias",
                                       "ignore_eos",
                                       "stop_token_ids",
                                       "skip_special_tokens",
                                       "priority",
                                       "cache_salt",
                                       "chat_template_kwargs"};

struct Reading {
  const json& body;  // The same with its fields in the client's order.
  json chat = json::object();
  json echo = json::object();
};

// Fields that ask for what this server doesn't have.
absl::Status RefuseUnsupported(const FieldReader& fields) {
  std::optional<bool> background;
  RETURN_IF_ERROR(fields.Read("background", &background));
  if (background.value_or(false)) {
    return InvalidField("background",
                        "background must be false: responses are made while the client waits");
  }
  std::string truncation = "disabled";
  RETURN_IF_ERROR(fields.Read("truncation", &truncation));
  if (truncation != "disabled") {
    return fields.Wrong("truncation", "\"disabled\": nothing of the input is left out unasked");
  }
  for (const char* name : {"conversation", "prompt", "context_management"}) {
    if (fields.Find(name) != nullptr) {
      return InvalidField(name, absl::StrCat(name,
                                             " is not supported; send the conversation in "
                                             "input, or previous_response_id"));
    }
  }
  const nlohmann::json* const reasoning = fields.Find("reasoning");
  if (reasoning == nullptr) return absl::OkStatus();
  if (!reasoning->is_object()) return fields.Wrong("reasoning", "an object");
  for (const auto& [name, value] : reasoning->items()) {
    if (!value.is_null() && value != nlohmann::json("none")) {
      return fields.Wrong("reasoning", "null: the model has no reasoning to configure");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadText(const FieldReader& fields, Reading* reading) {
  const nlohmann::json* const text = fields.Find("text");
  reading->echo["text"] = {{"format", {{"type", "text"}}}};
  if (text == nullptr) return absl::OkStatus();
  if (!text->is_object()) return fields.Wrong("text", "an object");
  const FieldReader text_fields(*text, "text.");
  std::string verbosity = "medium";
  RETURN_IF_ERROR(text_fields.Read("verbosity", &verbosity));
  if (verbosity != "medium") {
    return text_fields.Wrong("verbosity",
                             "\"medium\": say in the instructions how long the answer "
                             "is to be");
  }
  const nlohmann::json* const format = text_fields.Find("format");
  if (format == nullptr) return absl::OkStatus();
  if (!format->is_object()) return text_fields.Wrong("format", "an object with a type");
  json given = reading->body["text"]["format"];
  reading->echo["text"]["format"] = given;
  json response_format = given;
  if (given.value("type", json()) == json("json_schema")) {
    given.erase("type");
    response_format = {{"type", "json_schema"}, {"json_schema", std::move(given)}};
  }
  reading->chat["response_format"] = std::move(response_format);
  return absl::OkStatus();
}

// {"type": "function", "name": ..., ...} as {"type": "function", "function": {"name": ..., ...}}.
json Nested(const json& flat) {
  if (!flat.is_object() || flat.value("type", json()) != json("function")) return flat;
  json function = flat;
  function.erase("type");
  return {{"type", "function"}, {"function", std::move(function)}};
}

json NestedAll(const json& flat) {
  if (!flat.is_array()) return flat;
  json nested = json::array();
  for (const json& element : flat) nested.push_back(Nested(element));
  return nested;
}

void ReadToolFields(Reading* reading) {
  const json tools = reading->body.value("tools", json());
  const json choice = reading->body.value("tool_choice", json());
  reading->echo["tools"] = tools.is_array() ? tools : json::array();
  reading->echo["tool_choice"] = choice.is_null() ? json("auto") : choice;
  if (!tools.is_null()) reading->chat["tools"] = NestedAll(tools);
  if (choice.is_null()) return;
  json& to = reading->chat["tool_choice"];
  to = Nested(choice);
  if (choice.is_object() && choice.value("type", json()) == json("allowed_tools")) {
    to = {{"type", "allowed_tools"},
          {"allowed_tools",
           {{"mode", choice.value("mode", json("auto"))},
            {"tools", NestedAll(choice.value("tools", json()))}}}};
  }
}

absl::Status ReadInclude(const FieldReader& fields, Reading* reading) {
  const nlohmann::json* const include = fields.Find("include");
  const nlohmann::json* const top = fields.Find("top_logprobs");
  if (top != nullptr && top->is_number_integer() && *top != 0) reading->chat["logprobs"] = true;
  reading->echo["top_logprobs"] = top == nullptr ? json(0) : json(*top);
  // Chat requests take top_logprobs only beside logprobs.
  if (!reading->chat.contains("logprobs") && top != nullptr && *top == 0) {
    reading->chat.erase("top_logprobs");
  }
  if (include == nullptr) return absl::OkStatus();
  if (!include->is_array()) return fields.Wrong("include", "a list of strings");
  for (const nlohmann::json& what : *include) {
    if (what == "message.output_text.logprobs") {
      reading->chat["logprobs"] = true;
    } else if (what != "reasoning.encrypted_content") {  // Of which there is none.
      return fields.Wrong("include", "a list of \"message.output_text.logprobs\"");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadMetadata(const FieldReader& fields, Reading* reading) {
  const nlohmann::json* const metadata = fields.Find("metadata");
  reading->echo["metadata"] = json::object();
  if (metadata == nullptr) return absl::OkStatus();
  constexpr char kMust[] = "an object of at most 16 strings";
  if (!metadata->is_object() || metadata->size() > 16) return fields.Wrong("metadata", kMust);
  for (const auto& [name, value] : metadata->items()) {
    if (!value.is_string()) return fields.Wrong("metadata", kMust);
  }
  reading->echo["metadata"] = reading->body["metadata"];
  return absl::OkStatus();
}

// The conversation: what was said before, this request's input; the instructions come first.
absl::Status ReadConversation(const FieldReader& fields, const ConversationLookup& lookup,
                              Reading* reading, std::string* messages_json,
                              std::vector<std::string>* sources) {
  std::string previous;
  std::string instructions;
  RETURN_IF_ERROR(fields.Read("previous_response_id", &previous));
  RETURN_IF_ERROR(fields.Read("instructions", &instructions));
  reading->echo["previous_response_id"] = previous.empty() ? json() : json(previous);
  reading->echo["instructions"] = instructions.empty() ? json() : json(instructions);
  json messages = json::array();
  if (!previous.empty()) {
    ASSIGN_OR_RETURN(const std::string conversation, lookup(previous));
    messages = json::parse(conversation);
    sources->assign(messages.size(), "");
  }
  RETURN_IF_ERROR(AppendInput(reading->body.value("input", json()), {&messages, sources}));
  *messages_json = messages.dump();
  if (!instructions.empty()) {
    const json message = {{"role", "system"}, {"content", instructions}};
    messages.insert(messages.begin(), message);
    sources->insert(sources->begin(), "instructions");
  }
  reading->chat["messages"] = std::move(messages);
  return absl::OkStatus();
}

// The error of a chat request in the words of the Responses request that it was made from.
absl::Status Renamed(const absl::Status& status, const std::vector<std::string>& sources) {
  const auto rename = [&](std::string text) {
    const size_t at = text.find("messages[");
    const size_t end = at == std::string::npos ? at : text.find(']', at);
    size_t index = 0;
    if (end != std::string::npos && absl::SimpleAtoi(text.substr(at + 9, end - at - 9), &index) &&
        index < sources.size()) {
      const std::string name = "messages" + text.substr(at + 8, end + 1 - at - 8);
      text = absl::StrReplaceAll(
          text, {{name, sources[index].empty() ? "previous_response_id" : sources[index]}});
    }
    return absl::StrReplaceAll(text, {{"].function.", "]."},
                                      {"response_format.json_schema", "text.format"},
                                      {"response_format", "text.format"},
                                      {"max_completion_tokens", "max_output_tokens"}});
  };
  return WithField(absl::Status(status.code(), rename(std::string(status.message()))),
                   rename(ErrorParam(status)), ErrorCode(status));
}

absl::Status ReadLimits(const FieldReader& fields, Reading* reading) {
  std::optional<int64_t> max_output_tokens;
  RETURN_IF_ERROR(fields.Read("max_output_tokens", 1, kMaxTokens, &max_output_tokens));
  reading->echo["max_output_tokens"] = nullptr;
  if (max_output_tokens.has_value()) {
    reading->echo["max_output_tokens"] = reading->chat["max_completion_tokens"] =
        *max_output_tokens;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ResponsesRequest> ParseResponses(absl::string_view text,
                                                const ConversationLookup& lookup) {
  ASSIGN_OR_RETURN(const nlohmann::json plain, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const json body, ParseOrdered(text));
  const FieldReader fields(plain);
  Reading reading{body};
  ResponsesRequest request;
  std::vector<std::string> sources;
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  RETURN_IF_ERROR(fields.Read("stream", &request.stream));
  RETURN_IF_ERROR(fields.Read("store", &request.store));
  for (const char* name : kSameInChat) {
    if (fields.Find(name) != nullptr) reading.chat[name] = body[name];
  }
  RETURN_IF_ERROR(ReadConversation(fields, lookup, &reading, &request.messages_json, &sources));
  RETURN_IF_ERROR(ReadLimits(fields, &reading));
  RETURN_IF_ERROR(ReadText(fields, &reading));
  RETURN_IF_ERROR(ReadInclude(fields, &reading));
  RETURN_IF_ERROR(ReadMetadata(fields, &reading));
  ReadToolFields(&reading);
  for (const char* name : {"temperature", "top_p", "user"}) {
    reading.echo[name] = body.value(name, json());
  }
  const json parallel = body.value("parallel_tool_calls", json());
  reading.echo["parallel_tool_calls"] = parallel.is_null() ? json(true) : parallel;
  reading.echo["store"] = request.store;
  reading.echo["truncation"] = "disabled";
  absl::StatusOr<OpenAiRequest> chat = ParseChatCompletion(reading.chat.dump());
  if (!chat.ok()) return Renamed(chat.status(), sources);
  request.chat = *std::move(chat);
  std::optional<StructuredOutput>& shape = request.chat.prompts.front().structured_output;
  if (shape.has_value() && shape->field != "tools") shape->field = "text.format";
  request.echo_json = reading.echo.dump();
  return request;
}

}  // namespace quartet::gateway::http
