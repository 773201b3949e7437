#include "gateway/http/common_fields.h"

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = 1'000'000'000;

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

absl::Status ReadStopTokenIds(const FieldReader& fields, std::vector<uint32_t>* ids) {
  const json* const list = fields.Find("stop_token_ids");
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array()) return fields.Wrong("stop_token_ids", "a list of token ids");
  for (const json& id : *list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) {
      return fields.Wrong("stop_token_ids", "a list of token ids");
    }
    ids->push_back(id.get<uint32_t>());
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
  return FieldReader(*options, "stream_options.").Read("include_usage", &request->include_usage);
}

absl::Status RefuseUnsupported(const FieldReader& fields) {
  const json* const format = fields.Find("response_format");
  if (format == nullptr) return absl::OkStatus();
  if (format->is_object() && format->value("type", json()) == json("text")) {
    return absl::OkStatus();
  }
  return InvalidField("response_format",
                      absl::StrCat("response_format other than {\"type\": \"text\"} is not "
                                   "supported in this release, got ",
                                   Show(*format)));
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
  RETURN_IF_ERROR(ReadStopTokenIds(fields, &sampling->stop_token_ids));
  return ReadSeed(fields, &sampling->seed);
}

}  // namespace

absl::Status ReadCommonFields(const json& body, OpenAiRequest* request,
                              GenerationRequest* generation) {
  const FieldReader fields(body);
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  RETURN_IF_ERROR(ReadStreaming(fields, request));
  RETURN_IF_ERROR(fields.Read("model", &generation->model));
  std::optional<uint32_t> n;
  RETURN_IF_ERROR(fields.Read("n", 1, 128, &n));
  request->n = generation->n = n.value_or(1);
  RETURN_IF_ERROR(ReadStop(fields, &generation->stop));
  RETURN_IF_ERROR(ReadSampling(fields, &generation->sampling));
  RETURN_IF_ERROR(fields.Read("skip_special_tokens", &generation->skip_special_tokens));
  std::optional<int64_t> priority;
  RETURN_IF_ERROR(fields.Read("priority", INT32_MIN, INT32_MAX, &priority));
  generation->priority = static_cast<int32_t>(priority.value_or(0));
  RETURN_IF_ERROR(fields.Read("cache_salt", &generation->cache_salt));
  std::string user;  // Known and checked, of no use here.
  return fields.Read("user", &user);
}

}  // namespace quartet::gateway::http
