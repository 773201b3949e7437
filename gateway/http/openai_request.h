// OpenAI's request bodies for completions and chat, with vLLM's additions, turned into the
// gateway's own requests. Fields that are known are checked for type here and for range in
// request_validation, or refused (refused_fields); unknown ones are ignored. docs/api.md has a row
// for each.
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
  // stream_options.continuous_usage_stats: every chunk says how much there has been so far.
  bool continuous_usage = false;
  // stream_options.include_obfuscation: chunks are padded, so that their sizes tell little.
  bool obfuscate = false;
  // Tokens that a chunk gathers before it is sent; the first is sent at once.
  uint32_t stream_interval = 1;
  // Whether answers carry log-probabilities, and those of the prompt too.
  bool logprobs = false;
  bool prompt_logprobs = false;
  // The prompt's own log-probabilities stand before the answer's.
  bool echo = false;
  // Whether the ids of prompt and answer are told.
  bool token_ids = false;
  // Log-probabilities name tokens as "token_id:5".
  bool tokens_as_ids = false;
  // Answers to each prompt.
  uint32_t n = 1;
  // Chat only: the answer is kept, with these messages (a JSON list), for the client to come back
  // to.
  bool store = false;
  std::string messages_json;
  // Chat only: the calls that answers are read for.
  ToolUse tools;
  // The client's own name for the request, or empty.
  std::string request_id;
  // Who the request is for if nothing else says whose it is: safety_identifier or user.
  std::string end_user;
  // "default", "flex" or "priority" if the client asked for any.
  std::string service_tier;
  // What the client wants to see again with the answer: a JSON object, or empty.
  std::string metadata_json;
  // One a prompt, in order; request ids and tenants are empty.
  std::vector<GenerationRequest> prompts;
};

// POST /v1/completions.
absl::StatusOr<OpenAiRequest> ParseCompletion(absl::string_view body);
// POST /v1/chat/completions.
absl::StatusOr<OpenAiRequest> ParseChatCompletion(absl::string_view body);

}  // namespace quartet::gateway::http
