#include "gateway/http/common_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/account_fields.h"
#include "gateway/http/json_body.h"
#include "gateway/http/refused_fields.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

absl::Status ReadStop(const FieldReader& fields, std::vector<std::string>* stops) {
  const json* const stop = fields.Find("stop");
  if (stop == nullptr) return absl::OkStatus();
  if (stop->is_string()) {
    stops->push_back(stop->get<std::string>());
    return absl::OkStatus();
  }
  if (!stop->is_array()) return fields.Wrong("stop", "a string or a list of strings");
  for (const json& element : *stop) {
    if (!element.is_string()) return fields.Wrong("stop", "a string or a list of strings");
    stops->push_back(element.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadLogitBias(const FieldReader& fields, std::map<uint32_t, float>* bias) {
  const json* const object = fields.Find("logit_bias");
  if (object == nullptr) return absl::OkStatus();
  constexpr char kMust[] = "an object of token ids and numbers, e.g. {\"50256\": -100}";
  if (!object->is_object()) return fields.Wrong("logit_bias", kMust);
  for (const auto& [key, value] : object->items()) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(key, &id)) {
      return InvalidField("logit_bias", absl::StrCat("logit_bias has the key ", Show(json(key)),
                                                     ", which is not a token id"));
    }
    if (!value.is_number()) return fields.Wrong("logit_bias", kMust);
    (*bias)[id] = value.get<float>();
  }
  return absl::OkStatus();
}

absl::Status ReadSeed(const FieldReader& fields, std::optional<uint64_t>* seed) {
  const json* const value = fields.Find("seed");
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_number_integer()) return fields.Wrong("seed", "a whole number");
  // Negative seeds are seeds too.
  *seed = value->is_number_unsigned() ? value->get<uint64_t>()
                                      : static_cast<uint64_t>(value->get<int64_t>());
  return absl::OkStatus();
}

absl::Status ReadStreaming(const FieldReader& fields, OpenAiRequest* request) {
  RETURN_IF_ERROR(fields.Read("stream", &request->stream));
  const json* const options = fields.Find("stream_options");
  if (options == nullptr) return absl::OkStatus();
  if (!options->is_object()) return fields.Wrong("stream_options", "an object");
  if (!request->stream) {
    return InvalidField("stream_options", "stream_options may only be given with \"stream\": true");
  }
  const FieldReader inner(*options, "stream_options.");
  RETURN_IF_ERROR(inner.Read("include_usage", &request->include_usage));
  RETURN_IF_ERROR(inner.Read("continuous_usage_stats", &request->continuous_usage));
  return inner.Read("include_obfuscation", &request->obfuscate);
}

absl::Status ReadTruncation(const FieldReader& fields, GenerationRequest* generation) {
  std::optional<int64_t> tokens;
  RETURN_IF_ERROR(fields.Read("truncate_prompt_tokens", -1, kMaxTokens, &tokens));
  if (tokens == 0) return fields.Wrong("truncate_prompt_tokens", "-1 or at least 1");
  if (tokens.has_value()) {
    generation->truncate_prompt_tokens =
        *tokens == -1 ? kTruncateToFit : static_cast<uint32_t>(*tokens);
  }
  std::string side = "left";
  RETURN_IF_ERROR(fields.ReadOneOf("truncation_side", {"left", "right"}, &side));
  generation->truncate_keeps_start = side == "right";
  return absl::OkStatus();
}

absl::Status ReadRepetitionDetection(const FieldReader& fields,
                                     std::optional<RepetitionDetection>* detection) {
  const json* const value = fields.Find("repetition_detection");
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_object()) {
    return fields.Wrong("repetition_detection",
                        "an object with max_pattern_size, min_pattern_size and min_count");
  }
  const FieldReader inner(*value, "repetition_detection.");
  std::optional<uint32_t> max_size;
  std::optional<uint32_t> min_size;
  std::optional<uint32_t> min_count;
  RETURN_IF_ERROR(inner.Read("max_pattern_size", 0, kMaxTokens, &max_size));
  RETURN_IF_ERROR(inner.Read("min_pattern_size", 0, kMaxTokens, &min_size));
  RETURN_IF_ERROR(inner.Read("min_count", 0, kMaxTokens, &min_count));
  if (max_size.value_or(0) == 0) return absl::OkStatus();  // vLLM's way to switch it off.
  *detection = {std::max(min_size.value_or(0), 1u), *max_size, min_count.value_or(0)};
  return absl::OkStatus();
}

// vLLM's ways to say what is read and what is told.
absl::Status ReadTokenFields(const FieldReader& fields, OpenAiRequest* request,
                             GenerationRequest* generation) {
  RETURN_IF_ERROR(fields.Read("skip_special_tokens", &generation->skip_special_tokens));
  // Byte-level tokenizers put no spaces there, whatever this says.
  bool spaces = true;
  RETURN_IF_ERROR(fields.Read("spaces_between_special_tokens", &spaces));
  RETURN_IF_ERROR(fields.Read("include_stop_str_in_output", &generation->include_stop_in_output));
  RETURN_IF_ERROR(fields.Read("add_special_tokens", &generation->add_special_tokens));
  RETURN_IF_ERROR(fields.Read("bad_words", &generation->bad_words));
  RETURN_IF_ERROR(ReadTruncation(fields, generation));
  RETURN_IF_ERROR(fields.Read("return_token_ids", &request->token_ids));
  RETURN_IF_ERROR(fields.Read("return_tokens_as_token_ids", &request->tokens_as_ids));
  std::optional<uint32_t> interval;
  RETURN_IF_ERROR(fields.Read("stream_interval", 1, kMaxTokens, &interval));
  request->stream_interval = interval.value_or(1);
  RETURN_IF_ERROR(ReadRepetitionDetection(fields, &generation->repetition_detection));
  RETURN_IF_ERROR(fields.Read("use_beam_search", &generation->use_beam_search));
  std::optional<float> length_penalty;
  RETURN_IF_ERROR(fields.Read("length_penalty", &length_penalty));
  generation->length_penalty = length_penalty.value_or(1);
  return absl::OkStatus();
}

absl::Status ReadPromptLogprobs(const FieldReader& fields, OpenAiRequest* request,
                                SamplingParams* sampling) {
  RETURN_IF_ERROR(fields.Read("prompt_logprobs", 0, 20, &sampling->prompt_logprobs));
  request->prompt_logprobs = sampling->prompt_logprobs.has_value();
  if (!request->prompt_logprobs || !request->stream) return absl::OkStatus();
  return InvalidField("prompt_logprobs",
                      "prompt_logprobs can't be combined with \"stream\": true; leave one out");
}

absl::Status ReadSampling(const FieldReader& fields, SamplingParams* sampling) {
  RETURN_IF_ERROR(fields.Read("temperature", &sampling->temperature));
  RETURN_IF_ERROR(fields.Read("top_p", &sampling->top_p));
  RETURN_IF_ERROR(fields.Read("min_p", &sampling->min_p));
  RETURN_IF_ERROR(fields.Read("repetition_penalty", &sampling->repetition_penalty));
  RETURN_IF_ERROR(fields.Read("presence_penalty", &sampling->presence_penalty));
  RETURN_IF_ERROR(fields.Read("frequency_penalty", &sampling->frequency_penalty));
  std::optional<int64_t> top_k;
  RETURN_IF_ERROR(fields.Read("top_k", -1, INT32_MAX, &top_k));
  if (top_k.has_value()) sampling->top_k = static_cast<int32_t>(*top_k);
  RETURN_IF_ERROR(fields.Read("min_tokens", 0, kMaxTokens, &sampling->min_tokens));
  RETURN_IF_ERROR(fields.Read("ignore_eos", &sampling->ignore_eos));
  RETURN_IF_ERROR(ReadLogitBias(fields, &sampling->logit_bias));
  RETURN_IF_ERROR(fields.Read("stop_token_ids", &sampling->stop_token_ids));
  RETURN_IF_ERROR(fields.Read("allowed_token_ids", &sampling->allowed_token_ids));
  return ReadSeed(fields, &sampling->seed);
}

}  // namespace

absl::Status ReadCommonFields(const json& body, OpenAiRequest* request,
                              GenerationRequest* generation) {
  const FieldReader fields(body);
  RETURN_IF_ERROR(RefuseFields(body));
  RETURN_IF_ERROR(ReadStreaming(fields, request));
  RETURN_IF_ERROR(fields.Read("model", &generation->model));
  std::optional<uint32_t> n;
  RETURN_IF_ERROR(fields.Read("n", 1, 128, &n));
  request->n = generation->n = n.value_or(1);
  RETURN_IF_ERROR(ReadStop(fields, &generation->stop));
  RETURN_IF_ERROR(ReadSampling(fields, &generation->sampling));
  RETURN_IF_ERROR(ReadPromptLogprobs(fields, request, &generation->sampling));
  RETURN_IF_ERROR(ReadTokenFields(fields, request, generation));
  return ReadAccountFields(body, request, generation);
}

}  // namespace quartet::gateway::http
