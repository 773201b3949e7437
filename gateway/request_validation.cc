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
constexpr size_t kMaxRequestIdBytes = 256;
constexpr size_t kMaxAllowedTokenIds = 65'536;
constexpr size_t kMaxBannedSequences = 4096;
constexpr size_t kMaxBannedSequenceIds = 64;
constexpr size_t kMaxBadWords = 256;
constexpr size_t kMaxBadWordBytes = 256;
constexpr size_t kMaxStructuredOutputBytes = 128 << 10;
constexpr uint32_t kMaxPatternSize = 1024;
// A beam looks at twice as many tokens as there are beams, and a worker reports kMaxLogprobs.
constexpr uint32_t kMaxBeams = kMaxLogprobs / 2;
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

absl::Status CheckTokenLists(const SamplingParams& p, const ModelFacts& model) {
  if (p.allowed_token_ids.size() > kMaxAllowedTokenIds) {
    return InvalidField("allowed_token_ids",
                        absl::StrCat("allowed_token_ids may have at most ", kMaxAllowedTokenIds,
                                     " ids, got ", p.allowed_token_ids.size()));
  }
  RETURN_IF_ERROR(CheckIds("allowed_token_ids", p.allowed_token_ids, model));
  if (p.banned_sequences.size() > kMaxBannedSequences) {
    return InvalidField("banned_sequences",
                        absl::StrCat("banned_sequences may have at most ", kMaxBannedSequences,
                                     " entries, got ", p.banned_sequences.size()));
  }
  for (const TokenIds& ids : p.banned_sequences) {
    if (ids.empty() || ids.size() > kMaxBannedSequenceIds) {
      return InvalidField("banned_sequences",
                          absl::StrCat("an entry of banned_sequences must have 1 to ",
                                       kMaxBannedSequenceIds, " ids, got one of ", ids.size()));
    }
    RETURN_IF_ERROR(CheckIds("banned_sequences", ids, model));
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
  RETURN_IF_ERROR(CheckTokenLists(p, model));
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

absl::Status CheckBadWords(const std::vector<std::string>& words) {
  if (words.size() > kMaxBadWords) {
    return InvalidField("bad_words", absl::StrCat("bad_words may have at most ", kMaxBadWords,
                                                  " words, got ", words.size()));
  }
  for (const std::string& word : words) {
    if (word.find_first_not_of(' ') == std::string::npos) {
      return InvalidField("bad_words", absl::StrCat("a word of bad_words must have more in it than "
                                                    "spaces, got '",
                                                    word, "'"));
    }
    RETURN_IF_ERROR(CheckName("bad_words", word, kMaxBadWordBytes));
  }
  return absl::OkStatus();
}

absl::Status CheckStructuredOutput(const StructuredOutput& output) {
  constexpr char kField[] = "structured_output";
  using Kind = StructuredOutput::Kind;
  size_t num_bytes = output.text.size();
  for (const std::string& choice : output.choices) {
    if (choice.empty())
      return InvalidField(kField, "structured_output: a choice must not be empty, got ''");
    num_bytes += choice.size();
  }
  if (num_bytes > kMaxStructuredOutputBytes) {
    return InvalidField(kField, absl::StrCat("structured_output may have at "
                                             "most ",
                                             kMaxStructuredOutputBytes, " bytes, got ", num_bytes));
  }
  if (output.kind == Kind::kChoice && output.choices.empty()) {
    return InvalidField(kField, "structured_output: choice must have at least one text, got none");
  }
  if (output.kind != Kind::kChoice && output.kind != Kind::kJsonObject && output.text.empty()) {
    return InvalidField(kField,
                        "structured_output: the schema, expression, grammar or tag is empty");
  }
  return CheckName(kField, output.text, kMaxStructuredOutputBytes);
}

absl::Status CheckSuffix(const GenerationRequest& request, const ModelFacts& model) {
  if (!model.fill_in_middle.has_value()) {
    return InvalidField("suffix", absl::StrCat("the model ", model.name,
                                               " was not taught to fill in the middle (its "
                                               "tokenizer has no such tokens); leave suffix out"));
  }
  if (!std::holds_alternative<std::string>(request.prompt)) {
    return InvalidField("suffix", "suffix needs a prompt that is one text");
  }
  if (request.echo) return InvalidField("suffix", "suffix can't be combined with echo");
  if (request.truncate_prompt_tokens.has_value()) {
    return InvalidField("suffix", "suffix can't be combined with truncate_prompt_tokens");
  }
  return CheckName("suffix", *request.suffix, SIZE_MAX);
}

absl::Status CheckRepetition(const RepetitionDetection& d) {
  constexpr char kField[] = "repetition_detection";
  if (d.min_pattern_size < 1 || d.min_pattern_size > d.max_pattern_size ||
      d.max_pattern_size > kMaxPatternSize) {
    return InvalidField(kField, absl::StrCat("repetition_detection needs 1 <= min_pattern_size <= "
                                             "max_pattern_size <= ",
                                             kMaxPatternSize, ", got ", d.min_pattern_size, " and ",
                                             d.max_pattern_size));
  }
  return CheckRange("repetition_detection.min_count", d.min_count,
                    d.min_count >= 2 && d.min_count <= kMaxPatternSize, "[2, 1024]");
}

// Beams are ranked by the model's own probabilities, so nothing may shape those.
absl::Status CheckBeamSearch(const GenerationRequest& request) {
  const SamplingParams& p = request.sampling;
  RETURN_IF_ERROR(CheckRange("n", request.n, request.n <= kMaxBeams, "[1, 10] with beam search"));
  RETURN_IF_ERROR(CheckRange("length_penalty", request.length_penalty,
                             request.length_penalty >= -10 && request.length_penalty <= 10,
                             "[-10, 10]"));
  const struct {
    const char* field;
    bool given;
  } fields[] = {
      {"best_of", request.best_of.value_or(request.n) != request.n},
      {"stop", !request.stop.empty()},
      {"echo", request.prompt_only},
      {"structured_output", request.structured_output.has_value()},
      {"bad_words", !request.bad_words.empty() || !p.banned_sequences.empty()},
      {"repetition_detection", request.repetition_detection.has_value()},
      {"allowed_token_ids", !p.allowed_token_ids.empty()},
      {"logit_bias", !p.logit_bias.empty()},
      {"repetition_penalty", p.repetition_penalty.value_or(1) != 1},
      {"presence_penalty", p.presence_penalty.value_or(0) != 0},
      {"frequency_penalty", p.frequency_penalty.value_or(0) != 0},
      {"prompt_logprobs", p.prompt_logprobs.has_value()},
      {"min_tokens", p.min_tokens.value_or(0) != 0},
  };
  for (const auto& [field, given] : fields) {
    if (!given) continue;
    return InvalidField(field, absl::StrCat(field,
                                            " can't be combined with use_beam_search, which "
                                            "ranks by the model's own probabilities; leave "
                                            "one of them out"));
  }
  return absl::OkStatus();
}

absl::Status CheckWhole(const GenerationRequest& request, const ModelFacts& model) {
  RETURN_IF_ERROR(CheckRequestId(request.request_id));
  RETURN_IF_ERROR(CheckBadWords(request.bad_words));
  if (request.best_of.has_value()) {
    RETURN_IF_ERROR(CheckRange("best_of", *request.best_of,
                               *request.best_of >= request.n && *request.best_of <= kMaxChoices,
                               absl::StrCat("[n, ", kMaxChoices, "], n being ", request.n)));
  }
  if (request.truncate_prompt_tokens == 0u) {
    return InvalidField("truncate_prompt_tokens",
                        "truncate_prompt_tokens must be at least 1, got 0");
  }
  if (request.suffix.has_value()) RETURN_IF_ERROR(CheckSuffix(request, model));
  if (request.repetition_detection.has_value()) {
    RETURN_IF_ERROR(CheckRepetition(*request.repetition_detection));
  }
  if (request.structured_output.has_value()) {
    RETURN_IF_ERROR(CheckStructuredOutput(*request.structured_output));
  }
  if (request.use_beam_search) RETURN_IF_ERROR(CheckBeamSearch(request));
  return absl::OkStatus();
}

absl::Status CheckChat(const ChatPrompt& chat, const ModelFacts& model) {
  if (!model.has_chat_template && chat.chat_template.empty()) {
    return InvalidField("messages",
                        absl::StrCat("the model ", model.name,
                                     " has no chat template that can be used; send a plain prompt, "
                                     "or a chat_template"));
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

absl::Status CheckRequestId(const std::string& id) {
  for (unsigned char c : id) {
    if (c > ' ' && c < 0x7F) continue;
    return InvalidField("request_id",
                        absl::StrCat("request_id may have visible ASCII characters only, got 0x",
                                     absl::Hex(c, absl::kZeroPad2)));
  }
  return CheckName("request_id", id, kMaxRequestIdBytes);
}

absl::Status ValidateRequest(const GenerationRequest& request, const ModelFacts& model) {
  if (request.n < 1 || request.n > kMaxChoices) {
    return InvalidField("n", absl::StrCat("n must be in [1, ", kMaxChoices, "], got ", request.n));
  }
  RETURN_IF_ERROR(CheckSampling(request.sampling, model));
  RETURN_IF_ERROR(CheckStops(request.stop));
  RETURN_IF_ERROR(CheckWhole(request, model));
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
