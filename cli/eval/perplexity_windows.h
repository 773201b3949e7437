// How a text that is longer than the context is cut into windows for its perplexity, and what the
// log-probabilities of all windows come to.
#pragma once

#include <cstddef>
#include <vector>

namespace quartet::cli::eval {

// Tokens [begin, end) are read; the log-probabilities of [first_scored, end) count.
struct Window {
  size_t begin = 0;
  size_t end = 0;
  size_t first_scored = 0;

  bool operator==(const Window& other) const {
    return begin == other.begin && end == other.end && first_scored == other.first_scored;
  }
};

// Every token but the first is scored once. All but those of the first window have at least
// `context` - `stride` tokens before them. REQUIRES: 2 <= context, 1 <= stride < context.
std::vector<Window> MakeWindows(size_t num_tokens, size_t context, size_t stride);

struct Perplexity {
  size_t num_scored = 0;  // tokens
  size_t num_bytes = 0;   // of their text
  double total_nats = 0;  // sum of -log p
  double NatsPerToken() const;
  double PerToken() const;     // exp of that: the perplexity
  double BitsPerByte() const;  // comparable between tokenizers
};

}  // namespace quartet::cli::eval
