// OpenAI's request bodies for completions and chat, turned into the gateway's own requests. Fields
// that are known are checked for type here and for range in request_validation; unknown ones are
// ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/generation_types.h"
#include "gateway/http/tool_request.h"

namespace quartet::gateway::http {

struct OpenAiRequest {
  bool chat = false;
  bool stream = false;
  // stream_options.include_usage.
  bool include_usage = false;
  // Whether answers carry log-probabilities.
  bool logprobs = false;
  // Answers to each prompt.
  uint32_t n = 1;
  // Chat only: the calls that answers are read for.
  ToolUse tools;
  // One a prompt, in order; request ids are empty.
  std::vector<GenerationRequest> prompts;
};

// POST /v1/completions.
absl::StatusOr<OpenAiRequest> ParseCompletion(absl::string_view body);
// POST /v1/chat/completions.
absl::StatusOr<OpenAiRequest> ParseChatCompletion(absl::string_view body);

}  // namespace quartet::gateway::http
