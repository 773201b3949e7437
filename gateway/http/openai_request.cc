#include "gateway/http/openai_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/chat_messages.h"
#include "gateway/http/common_fields.h"
#include "gateway/http/json_body.h"
#include "gateway/http/structured_output_fields.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxPrompts = 1024;

bool IsIds(const json& value) {
  if (!value.is_array() || value.empty()) return false;
  for (const json& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) return false;
  }
  return true;
}

// A string, a list of strings, a list of ids, or a list of lists of ids.
absl::StatusOr<std::vector<Prompt>> ReadPrompts(const FieldReader& fields) {
  const json* const prompt = fields.Find("prompt");
  if (prompt == nullptr) return InvalidField("prompt", "you must provide a prompt");
  std::vector<Prompt> prompts;
  if (prompt->is_string()) {
    prompts.emplace_back(prompt->get<std::string>());
    return prompts;
  }
  if (IsIds(*prompt)) {
    prompts.emplace_back(prompt->get<TokenIds>());
    return prompts;
  }
  constexpr char kMust[] =
      "a string, a list of strings, a list of token ids or a list of lists of token ids, "
      "none of them empty";
  if (!prompt->is_array() || prompt->empty()) return fields.Wrong("prompt", kMust);
  if (prompt->size() > kMaxPrompts) {
    return InvalidField("prompt", absl::StrCat("prompt may be a list of at most ", kMaxPrompts,
                                               ", got ", prompt->size()));
  }
  for (const json& element : *prompt) {
    // All of one kind, as in OpenAI's definition.
    if (element.type() != prompt->front().type()) return fields.Wrong("prompt", kMust);
    if (element.is_string()) {
      prompts.emplace_back(element.get<std::string>());
    } else if (IsIds(element)) {
      prompts.emplace_back(element.get<TokenIds>());
    } else {
      return fields.Wrong("prompt", kMust);
    }
  }
  return prompts;
}

absl::Status ReadBestOf(const FieldReader& fields, const OpenAiRequest& request,
                        std::optional<uint32_t>* best_of) {
  RETURN_IF_ERROR(fields.Read("best_of", 1, 128, best_of));
  if (best_of->value_or(request.n) < request.n) {
    return InvalidField("best_of", absl::StrCat("best_of must be at least n, got best_of ",
                                                **best_of, " and n ", request.n));
  }
  if (best_of->value_or(request.n) == request.n || !request.stream) return absl::OkStatus();
  return InvalidField("best_of",
                      absl::StrCat("best_of greater than n can't be combined with \"stream\": "
                                   "true, as the best is known at the end only; got best_of ",
                                   **best_of, " and n ", request.n));
}

absl::Status ReadSuffix(const FieldReader& fields, std::optional<std::string>* suffix) {
  std::string text;
  RETURN_IF_ERROR(fields.Read("suffix", &text));
  if (!text.empty()) *suffix = std::move(text);
  return absl::OkStatus();
}

// max_tokens 0 is for those who want the prompt's log-probabilities alone.
absl::Status ReadMaxTokens(const FieldReader& fields, GenerationRequest* generation) {
  std::optional<uint32_t>& max_tokens = generation->sampling.max_tokens;
  RETURN_IF_ERROR(fields.Read("max_tokens", 0, kMaxTokens, &max_tokens));
  if (max_tokens != 0u) return absl::OkStatus();
  if (!generation->echo) {
    return InvalidField("max_tokens", "max_tokens must be at least 1 without echo, got 0");
  }
  max_tokens = 1;
  generation->prompt_only = true;
  return absl::OkStatus();
}

absl::Status ReadChatLogprobs(const FieldReader& fields, OpenAiRequest* request,
                              GenerationRequest* generation) {
  RETURN_IF_ERROR(fields.Read("logprobs", &request->logprobs));
  std::optional<uint32_t> top;
  RETURN_IF_ERROR(fields.Read("top_logprobs", 0, 20, &top));
  if (top.has_value() && !request->logprobs) {
    return InvalidField("top_logprobs", "top_logprobs may only be given with \"logprobs\": true");
  }
  if (request->logprobs) generation->sampling.logprobs = top.value_or(0);
  return absl::OkStatus();
}

absl::Status ApplyTools(const ToolUse& tools, GenerationRequest* generation) {
  ASSIGN_OR_RETURN(generation->structured_output,
                   ConstrainToTools(tools, generation->structured_output));
  const std::string stop = StopAfterCall(tools);
  if (!stop.empty()) generation->stop.push_back(stop);
  return absl::OkStatus();
}

// With the whole body read: what depends on several fields.
void Settle(OpenAiRequest* request, GenerationRequest* generation) {
  request->echo = generation->echo;
  generation->wants_pieces = request->logprobs || request->prompt_logprobs;
}

// vLLM's meaning: the answer begins with the last message if it goes on in the same role.
absl::Status ReadChatEcho(const FieldReader& fields, GenerationRequest* generation) {
  bool echo = false;
  RETURN_IF_ERROR(fields.Read("echo", &echo));
  const auto& chat = std::get<ChatPrompt>(generation->prompt);
  const ChatMessage& last = chat.messages.back();
  const bool same_role = !chat.add_generation_prompt || last.role == "assistant";
  if (echo && same_role) generation->echo_text = last.content;
  return absl::OkStatus();
}

// How hard to think and how much to say: the chat template's affair, as with vLLM.
absl::Status ReadTemplateHints(const FieldReader& fields, ChatPrompt* chat) {
  std::string effort;
  std::string verbosity;
  RETURN_IF_ERROR(fields.ReadOneOf(
      "reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"}, &effort));
  RETURN_IF_ERROR(fields.ReadOneOf("verbosity", {"low", "medium", "high"}, &verbosity));
  // No thinking is written apart from the answer, so there is none to leave out.
  bool include_reasoning = true;
  RETURN_IF_ERROR(fields.Read("include_reasoning", &include_reasoning));
  if (effort.empty() && verbosity.empty()) return absl::OkStatus();
  ordered_json variables = ordered_json::parse(chat->template_kwargs_json, nullptr, false);
  if (!variables.is_object()) variables = ordered_json::object();
  const auto add = [&variables](const char* name, const ordered_json& value) {
    if (!variables.contains(name)) variables[name] = value;
  };
  if (!effort.empty()) {
    add("reasoning_effort", effort);
    add("enable_thinking", effort != "none");
  }
  if (!verbosity.empty()) add("verbosity", verbosity);
  chat->template_kwargs_json = variables.dump();
  return absl::OkStatus();
}

// A guess at the answer makes some servers faster; here the answer takes as long as without.
absl::Status CheckPrediction(const FieldReader& fields) {
  const json* const prediction = fields.Find("prediction");
  if (prediction == nullptr) return absl::OkStatus();
  const bool fits = prediction->is_object() &&
                    prediction->value("type", json()) == json("content") &&
                    prediction->contains("content") &&
                    ((*prediction)["content"].is_string() || (*prediction)["content"].is_array());
  if (fits) return absl::OkStatus();
  return fields.Wrong("prediction", "{\"type\": \"content\", \"content\": ...}");
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseCompletion(absl::string_view text) {
  ASSIGN_OR_RETURN(const json body, ParseJsonObject(text));
  const FieldReader fields(body);
  OpenAiRequest request;
  GenerationRequest generation;
  ASSIGN_OR_RETURN(std::vector<Prompt> prompts, ReadPrompts(fields));
  RETURN_IF_ERROR(ReadCommonFields(body, &request, &generation));
  RETURN_IF_ERROR(ReadStructuredOutput(body, text, &generation.structured_output));
  RETURN_IF_ERROR(ReadBestOf(fields, request, &generation.best_of));
  RETURN_IF_ERROR(ReadSuffix(fields, &generation.suffix));
  RETURN_IF_ERROR(fields.Read("echo", &generation.echo));
  RETURN_IF_ERROR(ReadMaxTokens(fields, &generation));
  RETURN_IF_ERROR(fields.Read("logprobs", 0, 20, &generation.sampling.logprobs));
  request.logprobs = generation.sampling.logprobs.has_value();
  if (generation.echo && !request.prompt_logprobs) {
    generation.sampling.prompt_logprobs = generation.sampling.logprobs;
  }
  Settle(&request, &generation);
  for (Prompt& prompt : prompts) {
    request.prompts.push_back(generation);
    request.prompts.back().prompt = std::move(prompt);
  }
  return request;
}

absl::StatusOr<OpenAiRequest> ParseChatCompletion(absl::string_view text) {
  ASSIGN_OR_RETURN(const json body, ParseJsonObject(text));
  const FieldReader fields(body);
  OpenAiRequest request;
  request.chat = true;
  GenerationRequest generation;
  ASSIGN_OR_RETURN(ChatPrompt chat, ReadChat(body, text));
  ASSIGN_OR_RETURN(request.tools, ReadTools(body, text, &chat.tools_json));
  generation.prompt = std::move(chat);
  RETURN_IF_ERROR(ReadCommonFields(body, &request, &generation));
  std::optional<uint32_t>& max_tokens = generation.sampling.max_tokens;
  RETURN_IF_ERROR(fields.Read("max_tokens", 1, kMaxTokens, &max_tokens));
  RETURN_IF_ERROR(fields.Read("max_completion_tokens", 1, kMaxTokens, &max_tokens));
  RETURN_IF_ERROR(ReadChatLogprobs(fields, &request, &generation));
  RETURN_IF_ERROR(ReadStructuredOutput(body, text, &generation.structured_output));
  RETURN_IF_ERROR(ApplyTools(request.tools, &generation));
  RETURN_IF_ERROR(ReadChatEcho(fields, &generation));
  RETURN_IF_ERROR(ReadTemplateHints(fields, &std::get<ChatPrompt>(generation.prompt)));
  RETURN_IF_ERROR(CheckPrediction(fields));
  RETURN_IF_ERROR(fields.Read("store", &request.store));
  if (request.store) {
    ASSIGN_OR_RETURN(request.messages_json, OrderedText(text, {"messages"}));
  }
  RETURN_IF_ERROR(fields.Read("return_prompt_text", &generation.wants_prompt_text));
  Settle(&request, &generation);
  request.prompts.push_back(std::move(generation));
  return request;
}

}  // namespace quartet::gateway::http
