// Finds stop strings in text that arrives in pieces, and holds back what may be the beginning of
// one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::gateway {

// The stop string that ended a text. Offsets are bytes from the text's start.
struct StopMatch {
  size_t stop_index = 0;  // Which of the stop strings.
  size_t begin = 0;
  size_t end = 0;
};

// The match that wins is the one that ends first in the text; among those that end at the same
// byte, the one that begins first (the longest). So the result does not depend on how the text was
// cut into pieces. Not thread-safe.
class StopStringMatcher {
 public:
  // REQUIRES: no empty string in `stops`.
  explicit StopStringMatcher(std::vector<std::string> stops);

  // Adds `text` and returns what may be shown now: all text that can't be part of a match any more.
  // After a match the rest is dropped and further calls return nothing.
  std::string Push(absl::string_view text);
  // The text ends: returns what was held back, unless a stop string matched.
  std::string Flush();

  const std::optional<StopMatch>& match() const { return match_; }
  const std::string& stop(size_t index) const { return stops_[index]; }
  // Bytes shown so far.
  size_t released_bytes() const { return released_bytes_; }

 private:
  // One stop string with its Knuth-Morris-Pratt failure table; matched[i] is the state after a
  // mismatch at i.
  struct Automaton {
    std::vector<size_t> failure;
    size_t matched = 0;  // Bytes of the stop string that end the text so far.
  };
  void Step(char byte);

  const std::vector<std::string> stops_;
  std::vector<Automaton> automata_;
  std::string held_;  // Text not shown yet.
  size_t seen_bytes_ = 0;
  size_t released_bytes_ = 0;
  std::optional<StopMatch> match_;
};

}  // namespace quartet::gateway
