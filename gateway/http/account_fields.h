// Fields that say whose request it is, how urgent, and what the client wants to find it by.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {

// Returns INVALID_ARGUMENT naming the field.
absl::Status ReadAccountFields(const nlohmann::json& body, OpenAiRequest* request,
                               GenerationRequest* generation);

}  // namespace quartet::gateway::http
