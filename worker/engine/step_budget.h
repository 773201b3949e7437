// How many prompt tokens a step may read beside the sequences that decode, so that these get their
// next token in time. Learns from the steps: a decode step's time, and what a prompt token adds.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace quartet::engine {

// Not thread-safe. Plans depend on measured times; what a sequence computes does not.
class StepBudget {
 public:
  struct Options {
    // A step with decodes should take no longer than this, or than twice a decode step without
    // prompts where that is more: prompts get at least as much time as decodes. Infinite: prompts
    // take what they can.
    absl::Duration target = absl::InfiniteDuration();
    // A prompt always goes on by this much, however slow the machine is.
    int64_t min_tokens = 16;
    // What a first chunk beside decodes may be. Each may then be twice as long as the one before:
    // what a token costs in short chunks says little about long ones.
    int64_t first_tokens = 64;
  };

  explicit StepBudget(const Options& options)
      : options_(options), trusted_tokens_(options.first_tokens) {}

  // Prompt tokens that a step with `num_decodes` > 0 may read, at most `most`.
  int64_t PromptTokens(int64_t num_decodes, int64_t most) const;
  // How long a step is expected to take; zero if nothing is known.
  absl::Duration Predict(int64_t num_decodes, int64_t num_prompt_tokens) const;
  // A step took this long on the device.
  void Observe(int64_t num_decodes, int64_t num_prompt_tokens, absl::Duration duration);

 private:
  const Options options_;
  int64_t trusted_tokens_;           // the longest chunk whose cost can be foretold
  double decode_seconds_ = 0;        // of a step without prompts; 0: not known
  double prompt_token_seconds_ = 0;  // that one token adds; 0: not known
};

}  // namespace quartet::engine
