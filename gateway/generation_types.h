// What a request and its answers are inside the gateway: plain structs that both faces fill and
// read. Protobuf and JSON stop at the faces and at the clients of the other services.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace quartet::gateway {

// Mirrors quartet.v1.SamplingParams; an unset field takes the model's own default.
struct SamplingParams {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::map<uint32_t, float> logit_bias;
  std::optional<uint64_t> seed;
  std::optional<uint32_t> max_tokens;
  std::optional<uint32_t> min_tokens;
  std::optional<bool> ignore_eos;
  std::vector<uint32_t> stop_token_ids;
  std::optional<uint32_t> logprobs;
  std::optional<uint32_t> prompt_logprobs;
  // Only these are sampled; empty: all.
  std::vector<uint32_t> allowed_token_ids;
  // Ids that never follow each other in the output.
  std::vector<std::vector<uint32_t>> banned_sequences;
};

// Mirrors quartet.v1.StructuredOutput: the shape that an answer must have.
struct StructuredOutput {
  enum class Kind { kJsonObject, kJsonSchema, kRegex, kChoice, kEbnfGrammar, kStructuralTag };
  Kind kind = Kind::kJsonObject;
  // The schema, expression, grammar or tag; empty for the other kinds.
  std::string text;
  // kChoice only.
  std::vector<std::string> choices;
  // JSON without white space between its tokens.
  bool compact_json = false;
  // The client's field that asked for it, for messages; empty: quartet.v1's.
  std::string field;
};

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments_json;
};

struct ChatMessage {
  std::string role;
  std::string content;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;
  std::string name;
};

struct ChatPrompt {
  std::vector<ChatMessage> messages;
  // Each a JSON text of OpenAI's form, keys in the client's order.
  std::vector<std::string> tools_json;
  bool add_generation_prompt = true;
  // The last message is left open and the answer continues it.
  bool continue_final_message = false;
  // Further variables for the template: a JSON object, or empty.
  std::string template_kwargs_json;
  // Each a JSON text.
  std::vector<std::string> documents_json;
  // Takes the place of the model's own template if not empty.
  std::string chat_template;
};

// Ends an answer that goes round in circles: the same `size` tokens, min_pattern_size <= size <=
// max_pattern_size, min_count times in a row.
struct RepetitionDetection {
  uint32_t min_pattern_size = 1;
  uint32_t max_pattern_size = 1;
  uint32_t min_count = 2;
};

// GenerationRequest::truncate_prompt_tokens: as many as the context has room for.
inline constexpr uint32_t kTruncateToFit = UINT32_MAX;

using TokenIds = std::vector<uint32_t>;
// Plain text, ready ids, or a conversation.
using Prompt = std::variant<std::string, TokenIds, ChatPrompt>;

// One prompt with n answers.
struct GenerationRequest {
  // Drawn by the gateway if empty.
  std::string request_id;
  // Must name the served model if not empty.
  std::string model;
  Prompt prompt;
  SamplingParams sampling;
  std::vector<std::string> stop;
  uint32_t n = 1;
  bool echo = false;
  bool skip_special_tokens = true;
  int32_t priority = 0;
  std::string cache_salt;
  // Whose request it is; tenants share a server equally. Empty: nobody's in particular.
  std::string tenant;
  std::optional<StructuredOutput> structured_output;
  // Texts that the output never contains.
  std::vector<std::string> bad_words;
  // The stop string or stop id that ends an answer is part of its text.
  bool include_stop_in_output = false;
  // Only the last so many tokens of the prompt are read, or the first so many.
  std::optional<uint32_t> truncate_prompt_tokens;
  bool truncate_keeps_start = false;
  // The text after the place to be filled in the middle; with a text prompt only.
  std::optional<std::string> suffix;
  // Answers that are generated, of which the n likeliest are reported.
  std::optional<uint32_t> best_of;
  // Whether the prompt gets the tokenizer's own prefix tokens. Unset: a text does; a conversation
  // has what its template gives it.
  std::optional<bool> add_special_tokens;
  std::optional<RepetitionDetection> repetition_detection;
  // The n answers are the n likeliest that a search of n beams finds, and not sampled.
  bool use_beam_search = false;
  // An answer's score is its log-probability divided by its length to this power.
  float length_penalty = 1;
  // What is put before each answer, e.g. the message that it continues; beside `echo`.
  std::string echo_text;
  // Started carries the prompt as the chat template gave it.
  bool wants_prompt_text = false;
  // The request fails with DEADLINE_EXCEEDED after this long.
  absl::Duration timeout = absl::InfiniteDuration();
  // Whether reported log-probabilities carry the tokens' bytes (OpenAI's shapes show them).
  bool wants_pieces = false;
  // Only the prompt is of interest (echo with max_tokens 0): one token is sampled and thrown away.
  bool prompt_only = false;
};

struct TokenLogprob {
  uint32_t token_id = 0;
  float logprob = 0;
  uint32_t rank = 0;
  // Bytes of the token; filled if wants_pieces.
  std::string piece;
};

struct PositionLogprobs {
  TokenLogprob token;
  std::vector<TokenLogprob> top;
};

enum class FinishReason { kNone = 0, kStop = 1, kLength = 2, kAbort = 3 };

// One generated token.
struct OutputToken {
  uint32_t id = 0;
  std::optional<PositionLogprobs> logprobs;
  // Characters (code points) of the answer, echo included, before this token's text.
  size_t text_offset = 0;
  // Not part of the text: the id that ended the answer, or a piece of the stop string.
  bool hidden = false;
};

// One token of an echoed prompt.
struct PromptToken {
  uint32_t id = 0;
  std::string piece;
  size_t text_offset = 0;
  // Unset for the first token, which nothing predicts.
  std::optional<PositionLogprobs> logprobs;
};

struct StartedEvent {
  std::string request_id;
  std::string model;
  TokenIds prompt_token_ids;
  uint64_t seed = 0;
  // Names the weights and the arithmetic that answer: equal names, prompts, parameters and seeds
  // give equal tokens. Empty while no group has the request.
  std::string fingerprint;
  // If wants_prompt_text.
  std::string prompt_text;
};

struct DeltaEvent {
  uint32_t index = 0;
  // Whole UTF-8 characters; never part of a stop string.
  std::string text;
  std::vector<OutputToken> tokens;
  // In an answer's first delta, if prompt_logprobs were asked for: all tokens of the prompt.
  std::vector<PromptToken> prompt_tokens;
};

struct FinishedEvent {
  uint32_t index = 0;
  FinishReason reason = FinishReason::kNone;
  std::optional<std::string> stop_string;
  std::optional<uint32_t> stop_token_id;
  // Ended by repetition_detection.
  bool repetition = false;
};

struct UsageEvent {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_tokens = 0;
};

struct FailedEvent {
  absl::Status status;
};

// In a stream: Started first, then Delta and Finished events, then Usage; or Failed as the last (or
// only) event.
using GenerationEvent =
    std::variant<StartedEvent, DeltaEvent, FinishedEvent, UsageEvent, FailedEvent>;

// Where a generation's events go; each face has one. Called on the gateway's loop, one event at a
// time: must not block.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void OnEvent(GenerationEvent event) = 0;
};

}  // namespace quartet::gateway
