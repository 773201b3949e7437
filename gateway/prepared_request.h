// A request whose prompt has become ids: what generation, answers and prompt_preparation share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gateway/generation_types.h"

namespace quartet::gateway {

// Written while preparing; unchanged once there are answers.
struct PreparedRequest {
  // Seed and max_tokens are set.
  GenerationRequest request;
  std::shared_ptr<const TokenIds> prompt_ids;
  std::vector<uint32_t> eos_token_ids;
  // With wants_prompt_text: the conversation as the chat template gave it.
  std::string prompt_text;
  // What stands before each answer.
  std::string echo_text;
  // With echo and prompt_logprobs: the prompt's tokens, without their log-probabilities.
  std::vector<PromptToken> prompt_tokens;
  // On the loop's clock.
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace quartet::gateway
