// The two shapes in which OpenAI shows log-probabilities, and the one in which vLLM shows a
// prompt's.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "gateway/generation_types.h"

namespace quartet::gateway::http {

// How a token is shown. One that is no text of its own, such as half a character, is shown as its
// bytes, as OpenAI does: "bytes:\\xe7".
std::string TokenText(const std::string& piece);
// Completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, with `echo` the
// prompt's tokens first. With `as_ids` tokens are named "token_id:5".
nlohmann::ordered_json CompletionLogprobs(const DeltaEvent& delta, bool echo, bool as_ids);
// Chat: {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}.
nlohmann::ordered_json ChatLogprobs(const DeltaEvent& delta, bool as_ids);
// [null, {"5": {"logprob", "rank", "decoded_token"}, ...}, ...], an entry a token of the prompt,
// the token itself first.
nlohmann::ordered_json PromptLogprobs(const DeltaEvent& delta);

}  // namespace quartet::gateway::http
