#include "gateway/http/openai_response.h"

#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "gateway/http/json_body.h"
#include "gateway/http/logprobs_json.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

// Padded chunks have a multiple of this many bytes, nearly.
constexpr size_t kPaddedBytes = 128;

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
  if (shape.chat) return ChatLogprobs(delta, shape.tokens_as_ids);
  return CompletionLogprobs(delta, shape.echo, shape.tokens_as_ids);
}

// vLLM's word for what ended an answer, beside the model's own end.
json StopReason(const FinishedEvent& finished) {
  if (finished.repetition) return "repetition_detected";
  if (finished.stop_string.has_value()) return *finished.stop_string;
  if (finished.stop_token_id.has_value()) return *finished.stop_token_id;
  return nullptr;
}

json Ids(const DeltaEvent& delta) {
  json ids = json::array();
  for (const OutputToken& token : delta.tokens) ids.push_back(token.id);
  return ids;
}

json Usage(const UsageEvent& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"audio_tokens", 0}}},
          {"completion_tokens_details",
           {{"reasoning_tokens", 0},
            {"audio_tokens", 0},
            {"accepted_prediction_tokens", 0},
            {"rejected_prediction_tokens", 0}}}};
}

std::string Padding(size_t length) {
  thread_local std::mt19937 random{std::random_device{}()};
  std::string text(length, 'a');
  for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
  return text;
}

json Head(const ResponseShape& shape, const char* chat_object) {
  json head = {{"id", shape.id},
               {"object", shape.chat ? chat_object : "text_completion"},
               {"created", shape.created},
               {"model", shape.model},
               {"system_fingerprint", nullptr}};
  if (!shape.system_fingerprint.empty()) head["system_fingerprint"] = shape.system_fingerprint;
  if (!shape.service_tier.empty()) head["service_tier"] = shape.service_tier;
  return head;
}

std::string ChunkOf(const ResponseShape& shape, json choice, const ChunkExtras& extras) {
  json chunk = Head(shape, "chat.completion.chunk");
  if (extras.prompt != nullptr && shape.token_ids) {
    (shape.chat ? chunk : choice)["prompt_token_ids"] = extras.prompt->ids;
  }
  if (extras.prompt != nullptr && !extras.prompt->text.empty()) {
    chunk["prompt_text"] = extras.prompt->text;
  }
  chunk["choices"] = json::array({std::move(choice)});
  if (extras.usage != nullptr) {
    chunk["usage"] = Usage(*extras.usage);
  } else if (shape.include_usage) {
    chunk["usage"] = nullptr;
  }
  if (shape.obfuscate) {
    chunk["obfuscation"] = "";
    chunk["obfuscation"] = Padding(kPaddedBytes - Dump(chunk).size() % kPaddedBytes);
  }
  return Dump(chunk);
}

// A chunk with what `delta` says of tokens beside the text that `choice` has.
std::string DeltaChunkOf(const ResponseShape& shape, const DeltaEvent& delta, json choice,
                         const ChunkExtras& extras) {
  choice["logprobs"] = Logprobs(shape, delta);
  choice["finish_reason"] = nullptr;
  if (shape.token_ids) choice["token_ids"] = Ids(delta);
  return ChunkOf(shape, std::move(choice), extras);
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
                         const std::vector<PromptFacts>& prompts, const UsageEvent& usage) {
  json body = Head(shape, "chat.completion");
  body["choices"] = json::array();
  for (size_t i = 0; i < answers.size(); ++i) {
    const Answer& answer = answers[i];
    json choice = {{"index", answer.content.index}};
    if (shape.chat) {
      choice["message"] = {
          {"role", "assistant"}, {"content", answer.content.text}, {"refusal", nullptr}};
      AddToolCalls(shape.calls, answer.tool_calls, &choice["message"]);
    } else {
      choice["text"] = answer.content.text;
    }
    choice["logprobs"] = Logprobs(shape, answer.content);
    choice["finish_reason"] = Reason(shape, answer.finished.reason, !answer.tool_calls.empty());
    choice["stop_reason"] = StopReason(answer.finished);
    if (shape.token_ids) choice["token_ids"] = Ids(answer.content);
    // Where vLLM puts what it tells of prompts.
    json& of_prompt = shape.chat ? body : choice;
    const PromptFacts& prompt = prompts[i * prompts.size() / answers.size()];
    if (shape.token_ids) of_prompt["prompt_token_ids"] = prompt.ids;
    if (shape.prompt_logprobs) of_prompt["prompt_logprobs"] = PromptLogprobs(answer.content);
    if (!prompt.text.empty()) body["prompt_text"] = prompt.text;
    body["choices"].push_back(std::move(choice));
  }
  if (!shape.metadata_json.empty()) body["metadata"] = json::parse(shape.metadata_json);
  body["usage"] = Usage(usage);
  return Dump(body);
}

std::string RoleChunk(const ResponseShape& shape, uint32_t index, const ChunkExtras& extras) {
  // With tools there may be no content.
  const json content = shape.calls.enabled ? json() : json("");
  return ChunkOf(shape,
                 {{"index", index},
                  {"delta", {{"role", "assistant"}, {"content", content}}},
                  {"logprobs", nullptr},
                  {"finish_reason", nullptr}},
                 extras);
}

bool HasContent(const ResponseShape& shape, const DeltaEvent& delta) {
  if (!delta.text.empty()) return true;
  if (shape.token_ids && !delta.tokens.empty()) return true;
  if (!shape.logprobs) return false;
  for (const OutputToken& token : delta.tokens) {
    if (!token.hidden) return true;
  }
  return shape.echo && !delta.prompt_tokens.empty();
}

std::string DeltaChunk(const ResponseShape& shape, const DeltaEvent& delta,
                       const ChunkExtras& extras) {
  json choice = {{"index", delta.index}};
  if (shape.chat) {
    choice["delta"] = {{"content", delta.text}};
  } else {
    choice["text"] = delta.text;
  }
  return DeltaChunkOf(shape, delta, std::move(choice), extras);
}

std::string CallChunk(const ResponseShape& shape, const DeltaEvent& delta, const ToolCallPart& part,
                      const std::string& id, const ChunkExtras& extras) {
  json choice = {{"index", delta.index}, {"delta", ToolCallDelta(shape.calls, part, id)}};
  return DeltaChunkOf(shape, delta, std::move(choice), extras);
}

std::string FinishChunk(const ResponseShape& shape, const FinishedEvent& finished,
                        const ChunkExtras& extras, bool made_calls) {
  json choice = {{"index", finished.index}};
  if (shape.chat) {
    choice["delta"] = json::object();
  } else {
    choice["text"] = "";
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = Reason(shape, finished.reason, made_calls);
  choice["stop_reason"] = StopReason(finished);
  return ChunkOf(shape, std::move(choice), extras);
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
