// Fields that say whose request it is, how urgent, and what the client wants to find it by.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {

// The field "metadata", within OpenAI's bounds, as JSON text; leaves `text` as it is if there is
// none.
absl::Status ReadMetadata(const nlohmann::json& body, std::string* text);

// Returns INVALID_ARGUMENT naming the field.
absl::Status ReadAccountFields(const nlohmann::json& body, OpenAiRequest* request,
                               GenerationRequest* generation);

}  // namespace quartet::gateway::http
