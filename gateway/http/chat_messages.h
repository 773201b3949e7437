// The conversation in a chat request: messages, their parts and tool calls, and what else the chat
// template sees. The tools are in tool_request.h.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/generation_types.h"

namespace quartet::gateway::http {

// Reads all that a chat template sees but the tools. `text` is the text that `body` was parsed
// from. Returns INVALID_ARGUMENT naming the field.
absl::StatusOr<ChatPrompt> ReadChat(const nlohmann::json& body, absl::string_view text);

}  // namespace quartet::gateway::http
