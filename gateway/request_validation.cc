#include "gateway/request_validation.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"
#include "gateway/request_error.h"
#include "gateway/utf8.h"

namespace quartet::gateway {
namespace {

constexpr uint32_t kMaxChoices = 128;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopTokenIds = 256;
constexpr size_t kMaxTenantBytes = 256;
constexpr size_t kMaxCacheSaltBytes = 1024;
constexpr size_t kMaxLogitBias = 4096;
constexpr uint32_t kMaxLogprobs = 20;
constexpr uint32_t kDefaultMaxTokens = 16;
constexpr uint32_t kDefaultMaxChatTokens = 8192;

// `in_range` must be false for NaN.
absl::Status CheckRange(absl::string_view field, double value, bool in_range,
                        absl::string_view range) {
  if (in_range) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(field, " must be in ", range, ", got ", value));
}

absl::Status CheckFloats(const SamplingParams& p) {
  if (p.temperature) {
    const float v = *p.temperature;
    RETURN_IF_ERROR(CheckRange("temperature", v, v >= 0 && v <= 100, "[0, 100]"));
  }
  if (p.top_p) {
    const float v = *p.top_p;
    RETURN_IF_ERROR(CheckRange("top_p", v, v > 0 && v <= 1, "(0, 1]"));
  }
  if (p.min_p) {
    const float v = *p.min_p;
    RETURN_IF_ERROR(CheckRange("min_p", v, v >= 0 && v <= 1, "[0, 1]"));
  }
  if (p.repetition_penalty) {
    const float v = *p.repetition_penalty;
    RETURN_IF_ERROR(CheckRange("repetition_penalty", v, v > 0 && v <= 100, "(0, 100]"));
  }
  if (p.presence_penalty) {
    const float v = *p.presence_penalty;
    RETURN_IF_ERROR(CheckRange("presence_penalty", v, v >= -2 && v <= 2, "[-2, 2]"));
  }
  if (p.frequency_penalty) {
    const float v = *p.frequency_penalty;
    RETURN_IF_ERROR(CheckRange("frequency_penalty", v, v >= -2 && v <= 2, "[-2, 2]"));
  }
  return absl::OkStatus();
}

absl::Status CheckIds(absl::string_view field, const std::vector<uint32_t>& ids,
                      const ModelFacts& model) {
  for (uint32_t id : ids) {
    if (id < model.tokenizer_size) continue;
    return InvalidField(
        field, absl::StrCat(field, " has the token id ", id, ", but the model's ids end at ",
                            model.tokenizer_size - 1));
  }
  return absl::OkStatus();
}

absl::Status CheckLogitBias(const SamplingParams& p, const ModelFacts& model) {
  if (p.logit_bias.size() > kMaxLogitBias) {
    return InvalidField("logit_bias", absl::StrCat("logit_bias may name at most ", kMaxLogitBias,
                                                   " tokens, got ", p.logit_bias.size()));
  }
  for (const auto& [id, bias] : p.logit_bias) {
    RETURN_IF_ERROR(CheckIds("logit_bias", {id}, model));
    if (!(bias >= -100 && bias <= 100)) {
      return InvalidField("logit_bias", absl::StrCat("logit_bias of token ", id,
                                                     " must be in [-100, 100], got ", bias));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const SamplingParams& p, const ModelFacts& model) {
  RETURN_IF_ERROR(CheckFloats(p));
  RETURN_IF_ERROR(CheckLogitBias(p, model));
  if (p.top_k) RETURN_IF_ERROR(CheckRange("top_k", *p.top_k, *p.top_k >= -1, "[-1, 2147483647]"));
  if (p.max_tokens) {
    RETURN_IF_ERROR(CheckRange("max_tokens", *p.max_tokens, *p.max_tokens >= 1, "[1, 4294967295]"));
  }
  if (p.max_tokens && p.min_tokens && *p.min_tokens > *p.max_tokens) {
    return InvalidField(
        "min_tokens", absl::StrCat("min_tokens (", *p.min_tokens, ") must not exceed max_tokens (",
                                   *p.max_tokens, ")"));
  }
  if (p.stop_token_ids.size() > kMaxStopTokenIds) {
    return InvalidField("stop_token_ids",
                        absl::StrCat("stop_token_ids may have at most ", kMaxStopTokenIds,
                                     " ids, got ", p.stop_token_ids.size()));
  }
  RETURN_IF_ERROR(CheckIds("stop_token_ids", p.stop_token_ids, model));
  if (p.logprobs) {
    RETURN_IF_ERROR(CheckRange("logprobs", *p.logprobs, *p.logprobs <= kMaxLogprobs, "[0, 20]"));
  }
  if (p.prompt_logprobs) {
    RETURN_IF_ERROR(CheckRange("prompt_logprobs", *p.prompt_logprobs,
                               *p.prompt_logprobs <= kMaxLogprobs, "[0, 20]"));
  }
  return absl::OkStatus();
}

absl::Status CheckStops(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return InvalidField(
        "stop", absl::StrCat("stop may have at most ", kMaxStops, " strings, got ", stops.size()));
  }
  for (const std::string& stop : stops) {
    if (stop.empty()) return InvalidField("stop", "stop must not contain an empty string");
    if (stop.size() > kMaxStopBytes) {
      return InvalidField("stop", absl::StrCat("a stop string may have at most ", kMaxStopBytes,
                                               " bytes, got one of ", stop.size()));
    }
    if (FirstInvalidUtf8(stop) != stop.size()) {
      return InvalidField("stop", "stop must be valid UTF-8");
    }
  }
  return absl::OkStatus();
}

// Names travel in messages and logs.
absl::Status CheckName(absl::string_view field, const std::string& name, size_t max_bytes) {
  if (name.size() > max_bytes) {
    return InvalidField(
        field, absl::StrCat(field, " may have at most ", max_bytes, " bytes, got ", name.size()));
  }
  const size_t bad = FirstInvalidUtf8(name);
  if (bad != name.size()) {
    return InvalidField(field, absl::StrCat(field, " is not valid UTF-8 at byte ", bad));
  }
  return absl::OkStatus();
}

absl::Status CheckChat(const ChatPrompt& chat, const ModelFacts& model) {
  if (!model.has_chat_template) {
    return InvalidField("messages", absl::StrCat("the model ", model.name,
                                                 " has no chat template; send a plain prompt"));
  }
  if (chat.messages.empty()) {
    return InvalidField("messages", "messages must have at least one message");
  }
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    const std::string& role = chat.messages[i].role;
    if (role == "system" || role == "user" || role == "assistant" || role == "tool") continue;
    return InvalidField("messages", absl::StrCat("messages[", i,
                                                 "].role must be system, user, assistant or "
                                                 "tool, got '",
                                                 role, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const GenerationRequest& request, const ModelFacts& model) {
  if (request.n < 1 || request.n > kMaxChoices) {
    return InvalidField("n", absl::StrCat("n must be in [1, ", kMaxChoices, "], got ", request.n));
  }
  RETURN_IF_ERROR(CheckSampling(request.sampling, model));
  RETURN_IF_ERROR(CheckStops(request.stop));
  RETURN_IF_ERROR(CheckName("tenant", request.tenant, kMaxTenantBytes));
  RETURN_IF_ERROR(CheckName("cache_salt", request.cache_salt, kMaxCacheSaltBytes));
  if (const auto* ids = std::get_if<TokenIds>(&request.prompt)) {
    return CheckIds("prompt", *ids, model);
  }
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) return CheckChat(*chat, model);
  const std::string& text = std::get<std::string>(request.prompt);
  const size_t bad = FirstInvalidUtf8(text);
  if (bad != text.size()) {
    return InvalidField("prompt", absl::StrCat("prompt is not valid UTF-8 at byte ", bad));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> ResolveMaxTokens(const GenerationRequest& request, size_t prompt_tokens,
                                          const ModelFacts& model) {
  const bool chat = std::holds_alternative<ChatPrompt>(request.prompt);
  const absl::string_view field = chat ? "messages" : "prompt";
  if (prompt_tokens == 0) {
    return InvalidField(field, absl::StrCat(field, " is empty: it must give at least one token"));
  }
  const std::optional<uint32_t> asked = request.sampling.max_tokens;
  const uint64_t needed = prompt_tokens + asked.value_or(1);
  if (needed > model.max_model_len) {
    return InvalidField(field,
                        absl::StrCat("This model's maximum context length is ", model.max_model_len,
                                     " tokens, but you requested ", needed, " tokens (",
                                     prompt_tokens, " in the prompt, ", asked.value_or(1),
                                     " for the completion). Please shorten "
                                     "the prompt or ask for fewer tokens."),
                        "context_length_exceeded");
  }
  if (asked.has_value()) return *asked;
  const uint32_t rest = model.max_model_len - static_cast<uint32_t>(prompt_tokens);
  return std::min(rest, chat ? kDefaultMaxChatTokens : kDefaultMaxTokens);
}

}  // namespace quartet::gateway
