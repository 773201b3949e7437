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
  // The prompt's log-probabilities are shown: before the answer's own, or apart as vLLM does.
  bool echo = false;
  bool prompt_logprobs = false;
  // Chunks carry "usage": null, because a chunk with the usage will follow.
  bool include_usage = false;
  // Chat only.
  ToolCallShape calls;
  // Chunks are padded.
  bool obfuscate = false;
  // Token ids are shown, also in the place of the tokens' texts in log-probabilities.
  bool token_ids = false;
  bool tokens_as_ids = false;
  std::string id;
  int64_t created = 0;  // Seconds since 1970.
  std::string model;
  // What the client sent, to be shown again if not empty: a word, and a JSON object.
  std::string service_tier;
  std::string metadata_json;
  // Null if empty.
  std::string system_fingerprint;
};

// All that was said of one answer: the sum of its deltas, and its end.
struct Answer {
  DeltaEvent content;  // Its index is the answer's place among all of the response.
  FinishedEvent finished;
  // The calls that its text made, which `content` is without.
  std::vector<ToolCall> tool_calls;
};

// What is told of a prompt.
struct PromptFacts {
  // If ids are shown.
  TokenIds ids;
  // If the client wants to see what the template made of its messages.
  std::string text;
};

// What some chunks carry beside their text; may be null.
struct ChunkExtras {
  const UsageEvent* usage = nullptr;
  // In an answer's first chunk.
  const PromptFacts* prompt = nullptr;
};

// The body of a response that is not streamed. Answers go by prompt first; each prompt has as many.
std::string ResponseBody(const ResponseShape& shape, const std::vector<Answer>& answers,
                         const std::vector<PromptFacts>& prompts, const UsageEvent& usage);

// Chat only: the chunk that opens an answer.
std::string RoleChunk(const ResponseShape& shape, uint32_t index, const ChunkExtras& extras = {});
// Whether a delta has anything that a chunk can show.
bool HasContent(const ResponseShape& shape, const DeltaEvent& delta);
std::string DeltaChunk(const ResponseShape& shape, const DeltaEvent& delta,
                       const ChunkExtras& extras = {});
// Chat only: a chunk with a piece of the call `id` in the place of the delta's text.
std::string CallChunk(const ResponseShape& shape, const DeltaEvent& delta, const ToolCallPart& part,
                      const std::string& id, const ChunkExtras& extras = {});
std::string FinishChunk(const ResponseShape& shape, const FinishedEvent& finished,
                        const ChunkExtras& extras = {}, bool made_calls = false);
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
