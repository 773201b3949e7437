// The fields that OpenAI's completions and chat requests have in common.
#pragma once

#include "absl/status/status.h"
#include "gateway/generation_types.h"
#include "gateway/http/json_body.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {

// Reads them from `body` into `request` (stream, stream_options, n) and `generation` (all else).
// Refuses what this release doesn't do rather than doing something else.
absl::Status ReadCommonFields(const nlohmann::json& body, OpenAiRequest* request,
                              GenerationRequest* generation);

}  // namespace quartet::gateway::http
