// How tool calls look in chat answers, in OpenAI's two forms: "tool_calls", and the older
// "function_call".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "gateway/generation_types.h"
#include "gateway/http/tool_request.h"
#include "gateway/tool_call_parser.h"

namespace quartet::gateway::http {

// How the answers to one request show their calls.
struct ToolCallShape {
  // Answers are read for calls.
  bool enabled = false;
  // As "function_call".
  bool legacy = false;
  // The request named the function, so that the call is what was asked for and not a reason to end.
  bool named = false;

  static ToolCallShape Of(const ToolUse& tools);
};

// The "delta" of a chunk that begins a call (`id` is its id) or goes on with its arguments.
// REQUIRES: `part` isn't content.
nlohmann::ordered_json ToolCallDelta(const ToolCallShape& shape, const ToolCallPart& part,
                                     const std::string& id);

// Adds calls to a chat message, whose content is then null if there is no text beside them.
void AddToolCalls(const ToolCallShape& shape, const std::vector<ToolCall>& calls,
                  nlohmann::ordered_json* message);

// OpenAI's finish_reason for an answer that made calls and came to its own end.
const char* FinishReasonOfCalls(const ToolCallShape& shape);

}  // namespace quartet::gateway::http
