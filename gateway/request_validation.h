// What a request must look like, whichever face it came through. Messages name the field and the
// value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/generation_types.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway {

// What the gateway must know of the served model to take a request.
struct ModelFacts {
  // The name it is served under.
  std::string name;
  // Longest prompt plus output, tokens.
  uint32_t max_model_len = 0;
  // One past the largest id that the tokenizer has.
  uint32_t tokenizer_size = 0;
  // Ids that the tokenizer's files say end a text.
  std::vector<uint32_t> eos_token_ids;
  bool has_chat_template = false;
  // Unset if the model was not taught to fill in the middle.
  std::optional<FillInMiddleIds> fill_in_middle;
};

// All that can be said before the prompt's ids are known. Returns INVALID_ARGUMENT with the field.
absl::Status ValidateRequest(const GenerationRequest& request, const ModelFacts& model);

// Whether `id` can name a request in headers and logs: at most 256 visible ASCII characters; empty
// is fine. Returns INVALID_ARGUMENT.
absl::Status CheckRequestId(const std::string& id);

// How many tokens the request may generate: the client's max_tokens, or the default (16; for chat
// the rest of the context, at most 8192), cut to the context. Returns INVALID_ARGUMENT with the
// numbers if the prompt and max_tokens don't fit.
absl::StatusOr<uint32_t> ResolveMaxTokens(const GenerationRequest& request, size_t prompt_tokens,
                                          const ModelFacts& model);

}  // namespace quartet::gateway
