#include "gateway/http/refused_fields.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

struct RefusedField {
  const char* name;
  // JSON of a value that asks for nothing, beside null and what is empty.
  const char* harmless;
  const char* why;
};

constexpr RefusedField kRefused[] = {
    {"audio", "null", "the model neither hears nor speaks; ask for text"},
    {"modalities", "[\"text\"]", "the model writes text only; send [\"text\"]"},
    {"mm_processor_kwargs", "null", "the model reads text only"},
    {"media_io_kwargs", "null", "the model reads text only"},
    {"return_mm_kwargs", "true", "the model reads text only"},
    {"prompt_embeds", "null", "prompts are read as text or token ids, not as embeddings"},
    {"web_search_options", "null",
     "the server reaches no web; search first and put what you found into the messages"},
    {"moderation", "null", "the server has no moderation model; check texts on your side"},
    {"prompt_cache_retention", "\"in_memory\"",
     "prefixes are cached in memory, for as long as there is room; send \"in_memory\""},
    {"prompt_cache_options", "{\"mode\":\"implicit\"}",
     "every prefix is cached, for as long as there is room; send {\"mode\": \"implicit\"}"},
    {"logits_processors", "null",
     "code of a client is not run; use logit_bias, bad_words or allowed_token_ids"},
    {"logprob_token_ids", "null",
     "log-probabilities are told of the likeliest tokens; use logprobs with up to 20 alternatives"},
    {"watermarking", "false", "the server marks no texts"},
    {"thinking_token_budget", "-1", "the model does not think before it answers; use max_tokens"},
    {"routed_experts_prompt_start", "0", "the model has no experts"},
    {"return_token_offsets", "false",
     "token offsets are a field of log-probabilities: \"logprobs\": 0 gives text_offset"},
    {"kv_transfer_params", "null", "prompts are read where they are answered"},
    {"ec_transfer_params", "null", "prompts are read where they are answered"},
    {"vllm_xargs", "null", "the server has no extensions that would read them"},
};

}  // namespace

absl::Status RefuseFields(const json& body) {
  for (const RefusedField& field : kRefused) {
    const json* const value = FieldReader(body).Find(field.name);
    if (value == nullptr || (value->is_structured() && value->empty())) continue;
    if (*value == json::parse(field.harmless)) continue;
    return InvalidField(field.name, absl::StrCat(field.name, " is not supported: ", field.why,
                                                 "; got ", Show(*value)));
  }
  return absl::OkStatus();
}

}  // namespace quartet::gateway::http
