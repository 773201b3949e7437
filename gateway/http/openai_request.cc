#include "gateway/http/openai_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/chat_messages.h"
#include "gateway/http/common_fields.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = 1'000'000'000;
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

absl::Status CheckBestOf(const FieldReader& fields, uint32_t n) {
  std::optional<uint32_t> best_of;
  RETURN_IF_ERROR(fields.Read("best_of", 1, 128, &best_of));
  if (best_of.value_or(n) == n) return absl::OkStatus();
  return InvalidField("best_of", absl::StrCat("best_of other than n is not supported, got best_of ",
                                              *best_of, " and n ", n));
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
  generation->wants_pieces = request->logprobs;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseCompletion(absl::string_view text) {
  ASSIGN_OR_RETURN(const json body, ParseJsonObject(text));
  const FieldReader fields(body);
  OpenAiRequest request;
  GenerationRequest generation;
  ASSIGN_OR_RETURN(std::vector<Prompt> prompts, ReadPrompts(fields));
  RETURN_IF_ERROR(ReadCommonFields(body, &request, &generation));
  RETURN_IF_ERROR(CheckBestOf(fields, request.n));
  if (fields.Find("suffix") != nullptr) {
    return InvalidField("suffix", "suffix is not supported; leave it out");
  }
  RETURN_IF_ERROR(fields.Read("echo", &generation.echo));
  RETURN_IF_ERROR(ReadMaxTokens(fields, &generation));
  RETURN_IF_ERROR(fields.Read("logprobs", 0, 20, &generation.sampling.logprobs));
  request.logprobs = generation.wants_pieces = generation.sampling.logprobs.has_value();
  if (generation.echo) generation.sampling.prompt_logprobs = generation.sampling.logprobs;
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
  ASSIGN_OR_RETURN(generation.prompt, ReadChat(body, text));
  RETURN_IF_ERROR(ReadCommonFields(body, &request, &generation));
  std::optional<uint32_t>& max_tokens = generation.sampling.max_tokens;
  RETURN_IF_ERROR(fields.Read("max_tokens", 1, kMaxTokens, &max_tokens));
  RETURN_IF_ERROR(fields.Read("max_completion_tokens", 1, kMaxTokens, &max_tokens));
  RETURN_IF_ERROR(ReadChatLogprobs(fields, &request, &generation));
  request.prompts.push_back(std::move(generation));
  return request;
}

}  // namespace quartet::gateway::http
