// The fields that OpenAI's completions and chat requests have in common.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "gateway/generation_types.h"
#include "gateway/http/json_body.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {

// No field that counts tokens may be larger.
inline constexpr int64_t kMaxTokens = 1'000'000'000;

// Reads them from `body` into `request` (stream, stream_options, n) and `generation` (all else).
// Refuses what this release doesn't do rather than doing something else.
absl::Status ReadCommonFields(const nlohmann::json& body, OpenAiRequest* request,
                              GenerationRequest* generation);

}  // namespace quartet::gateway::http
