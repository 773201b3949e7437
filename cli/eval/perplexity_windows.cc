#include "cli/eval/perplexity_windows.h"

#include <algorithm>
#include <cmath>

namespace quartet::cli::eval {

std::vector<Window> MakeWindows(size_t num_tokens, size_t context, size_t stride) {
  std::vector<Window> windows;
  size_t scored = 1;  // tokens before this one are done with; nothing comes before the first
  for (size_t begin = 0; scored < num_tokens; begin += stride) {
    const size_t end = std::min(begin + context, num_tokens);
    windows.push_back({begin, end, scored});
    scored = end;
  }
  return windows;
}

double Perplexity::NatsPerToken() const {
  return num_scored == 0 ? 0 : total_nats / static_cast<double>(num_scored);
}

double Perplexity::PerToken() const { return std::exp(NatsPerToken()); }

double Perplexity::BitsPerByte() const {
  return num_bytes == 0 ? 0 : total_nats / std::log(2.0) / static_cast<double>(num_bytes);
}

}  // namespace quartet::cli::eval
