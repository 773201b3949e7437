// OpenAI's Responses requests, turned into chat requests: the same messages, tools and parameters
// under other names.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {

struct ResponsesRequest {
  bool stream = false;
  // Whether the response is kept for later requests.
  bool store = true;
  // One prompt, one answer.
  OpenAiRequest chat;
  // What the response repeats of its request: a JSON object.
  std::string echo_json;
  // The conversation up to the answer, without the instructions: a JSON list of chat messages.
  std::string messages_json;
};

// Gives the conversation of an earlier response, its answer included, in the form of
// ResponsesRequest::messages_json; or NOT_FOUND.
using ConversationLookup = std::function<absl::StatusOr<std::string>(const std::string& id)>;

// POST /v1/responses. Returns INVALID_ARGUMENT naming the field, or what `lookup` returns.
absl::StatusOr<ResponsesRequest> ParseResponses(absl::string_view body,
                                                const ConversationLookup& lookup);

}  // namespace quartet::gateway::http
