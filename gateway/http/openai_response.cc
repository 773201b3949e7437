#include "gateway/http/openai_response.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/http/logprobs_json.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json Reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return nullptr;
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
  }
  return nullptr;
}

// The reason of an answer that may have made tool calls.
json Reason(const ResponseShape& shape, FinishReason reason, bool made_calls) {
  const bool ended_with_calls = made_calls && reason == FinishReason::kStop;
  return ended_with_calls ? json(FinishReasonOfCalls(shape.calls)) : Reason(reason);
}

json Logprobs(const ResponseShape& shape, const DeltaEvent& delta) {
  if (!shape.logprobs) return nullptr;
  return shape.chat ? ChatLogprobs(delta) : CompletionLogprobs(delta);
}

json Usage(const UsageEvent& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

json Head(const ResponseShape& shape, const char* chat_object) {
  return {{"id", shape.id},
          {"object", shape.chat ? chat_object : "text_completion"},
          {"created", shape.created},
          {"model", shape.model}};
}

std::string ChunkOf(const ResponseShape& shape, json choice) {
  json chunk = Head(shape, "chat.completion.chunk");
  chunk["choices"] = json::array({std::move(choice)});
  if (shape.include_usage) chunk["usage"] = nullptr;
  return Dump(chunk);
}

struct HttpError {
  int http_status;
  const char* type;
  const char* code;
};

HttpError Classify(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return {400, "invalid_request_error", nullptr};
    case absl::StatusCode::kNotFound:
      return {404, "invalid_request_error", "not_found"};
    case absl::StatusCode::kResourceExhausted:
      return {429, "rate_limit_error", "rate_limit_exceeded"};
    case absl::StatusCode::kUnavailable:
      return {503, "server_error", "service_unavailable"};
    case absl::StatusCode::kDeadlineExceeded:
      return {504, "server_error", "deadline_exceeded"};
    case absl::StatusCode::kCancelled:
      return {499, "invalid_request_error", "request_cancelled"};
    default:
      return {500, "server_error", "internal_error"};
  }
}

json ErrorObject(const std::string& message, const std::string& type, const std::string& param,
                 const std::string& code) {
  return {{"error",
           {{"message", message},
            {"type", type},
            {"param", param.empty() ? json() : json(param)},
            {"code", code.empty() ? json() : json(code)}}}};
}

json Card(const std::string& name, int64_t created, uint32_t max_model_len) {
  return {{"id", name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "quartet"},
          {"max_model_len", max_model_len}};
}

}  // namespace

std::string ResponseBody(const ResponseShape& shape, const std::vector<Answer>& answers,
                         const UsageEvent& usage) {
  json body = Head(shape, "chat.completion");
  body["choices"] = json::array();
  for (const Answer& answer : answers) {
    json choice = {{"index", answer.content.index}};
    if (shape.chat) {
      choice["message"] = {
          {"role", "assistant"}, {"content", answer.content.text}, {"refusal", nullptr}};
      AddToolCalls(shape.calls, answer.tool_calls, &choice["message"]);
    } else {
      choice["text"] = answer.content.text;
    }
    choice["logprobs"] = Logprobs(shape, answer.content);
    choice["finish_reason"] = Reason(shape, answer.finish_reason, !answer.tool_calls.empty());
    body["choices"].push_back(std::move(choice));
  }
  body["usage"] = Usage(usage);
  return Dump(body);
}

std::string RoleChunk(const ResponseShape& shape, uint32_t index) {
  // With tools there may be no content.
  const json content = shape.calls.enabled ? json() : json("");
  return ChunkOf(shape, {{"index", index},
                         {"delta", {{"role", "assistant"}, {"content", content}}},
                         {"logprobs", nullptr},
                         {"finish_reason", nullptr}});
}

bool HasContent(const ResponseShape& shape, const DeltaEvent& delta) {
  if (!delta.text.empty()) return true;
  if (!shape.logprobs) return false;
  for (const OutputToken& token : delta.tokens) {
    if (!token.hidden) return true;
  }
  return !delta.prompt_tokens.empty();
}

std::string DeltaChunk(const ResponseShape& shape, const DeltaEvent& delta) {
  json choice = {{"index", delta.index}};
  if (shape.chat) {
    choice["delta"] = {{"content", delta.text}};
  } else {
    choice["text"] = delta.text;
  }
  choice["logprobs"] = Logprobs(shape, delta);
  choice["finish_reason"] = nullptr;
  return ChunkOf(shape, std::move(choice));
}

std::string CallChunk(const ResponseShape& shape, const DeltaEvent& delta, const ToolCallPart& part,
                      const std::string& id) {
  return ChunkOf(shape, {{"index", delta.index},
                         {"delta", ToolCallDelta(shape.calls, part, id)},
                         {"logprobs", Logprobs(shape, delta)},
                         {"finish_reason", nullptr}});
}

std::string FinishChunk(const ResponseShape& shape, uint32_t index, FinishReason reason,
                        bool made_calls) {
  json choice = {{"index", index}};
  if (shape.chat) {
    choice["delta"] = json::object();
  } else {
    choice["text"] = "";
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = Reason(shape, reason, made_calls);
  return ChunkOf(shape, std::move(choice));
}

std::string UsageChunk(const ResponseShape& shape, const UsageEvent& usage) {
  json chunk = Head(shape, "chat.completion.chunk");
  chunk["choices"] = json::array();
  chunk["usage"] = Usage(usage);
  return Dump(chunk);
}

std::string ErrorBody(const absl::Status& status) {
  const HttpError error = Classify(status.code());
  std::string code = ErrorCode(status);
  if (code.empty() && error.code != nullptr) code = error.code;
  return Dump(ErrorObject(std::string(status.message()), error.type, ErrorParam(status), code));
}

std::string ErrorBody(const std::string& message, const std::string& type,
                      const std::string& code) {
  return Dump(ErrorObject(message, type, "", code));
}

HttpResponse ErrorResponse(const absl::Status& status) {
  HttpResponse response;
  response.status = Classify(status.code()).http_status;
  response.body = ErrorBody(status);
  const int retry_after_s = RetryAfterSeconds(status);
  if (retry_after_s > 0) {
    response.headers.emplace_back("Retry-After", absl::StrCat(retry_after_s));
  }
  return response;
}

std::string ModelList(const std::vector<std::string>& names, int64_t created,
                      uint32_t max_model_len) {
  json data = json::array();
  for (const std::string& name : names) data.push_back(Card(name, created, max_model_len));
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string ModelCard(const std::string& name, int64_t created, uint32_t max_model_len) {
  return Dump(Card(name, created, max_model_len));
}

}  // namespace quartet::gateway::http
