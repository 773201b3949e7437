// OpenAI's response bodies: completions and chat, whole and in chunks, errors, and the list of
// models. All functions return JSON on one line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gateway/generation_types.h"
#include "gateway/http/exchange.h"
#include "gateway/http/tool_call_json.h"

namespace quartet::gateway::http {

// What all bodies of one response share.
struct ResponseShape {
  bool chat = false;
  bool logprobs = false;
  // Chunks carry "usage": null, because a chunk with the usage will follow.
  bool include_usage = false;
  // Chat only.
  ToolCallShape calls;
  std::string id;
  int64_t created = 0;  // Seconds since 1970.
  std::string model;
};

// All that was said of one answer: the sum of its deltas, and its end.
struct Answer {
  DeltaEvent content;  // Its index is the answer's place among all of the response.
  FinishReason finish_reason = FinishReason::kNone;
  // The calls that its text made, which `content` is without.
  std::vector<ToolCall> tool_calls;
};

// The body of a response that is not streamed.
std::string ResponseBody(const ResponseShape& shape, const std::vector<Answer>& answers,
                         const UsageEvent& usage);

// Chat only: the chunk that opens an answer.
std::string RoleChunk(const ResponseShape& shape, uint32_t index);
// Whether a delta has anything that a chunk can show.
bool HasContent(const ResponseShape& shape, const DeltaEvent& delta);
std::string DeltaChunk(const ResponseShape& shape, const DeltaEvent& delta);
// Chat only: a chunk with a piece of the call `id` in the place of the delta's text.
std::string CallChunk(const ResponseShape& shape, const DeltaEvent& delta, const ToolCallPart& part,
                      const std::string& id);
std::string FinishChunk(const ResponseShape& shape, uint32_t index, FinishReason reason,
                        bool made_calls = false);
std::string UsageChunk(const ResponseShape& shape, const UsageEvent& usage);

// {"error": {...}} for `status`.
std::string ErrorBody(const absl::Status& status);
// The same for an error of HTTP itself.
std::string ErrorBody(const std::string& message, const std::string& type, const std::string& code);
// `status` as a whole answer: HTTP code, body, Retry-After.
HttpResponse ErrorResponse(const absl::Status& status);

// GET /v1/models and one of its entries.
std::string ModelList(const std::vector<std::string>& names, int64_t created,
                      uint32_t max_model_len);
std::string ModelCard(const std::string& name, int64_t created, uint32_t max_model_len);

}  // namespace quartet::gateway::http
