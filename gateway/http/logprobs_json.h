// The two shapes in which OpenAI shows log-probabilities.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "gateway/generation_types.h"

namespace quartet::gateway::http {

// Completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, the echoed prompt's
// tokens first.
nlohmann::ordered_json CompletionLogprobs(const DeltaEvent& delta);
// Chat: {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}.
nlohmann::ordered_json ChatLogprobs(const DeltaEvent& delta);

}  // namespace quartet::gateway::http
