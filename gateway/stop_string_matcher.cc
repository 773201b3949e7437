#include "gateway/stop_string_matcher.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace quartet::gateway {
namespace {

// failure[i]: length of the longest proper prefix of stop[0..i] that is also its suffix.
std::vector<size_t> FailureTable(absl::string_view stop) {
  std::vector<size_t> failure(stop.size(), 0);
  for (size_t i = 1, length = 0; i < stop.size(); ++i) {
    while (length > 0 && stop[i] != stop[length]) length = failure[length - 1];
    if (stop[i] == stop[length]) ++length;
    failure[i] = length;
  }
  return failure;
}

}  // namespace

StopStringMatcher::StopStringMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    QUARTET_CHECK(!stop.empty());
    automata_.push_back({FailureTable(stop), 0});
  }
}

void StopStringMatcher::Step(char byte) {
  ++seen_bytes_;
  for (size_t i = 0; i < stops_.size(); ++i) {
    Automaton& automaton = automata_[i];
    const std::string& stop = stops_[i];
    while (automaton.matched > 0 && stop[automaton.matched] != byte) {
      automaton.matched = automaton.failure[automaton.matched - 1];
    }
    if (stop[automaton.matched] == byte) ++automaton.matched;
    if (automaton.matched == stop.size()) {
      const size_t begin = seen_bytes_ - stop.size();
      if (!match_.has_value() || begin < match_->begin) match_ = StopMatch{i, begin, seen_bytes_};
    }
  }
}

std::string StopStringMatcher::Push(absl::string_view text) {
  if (match_.has_value()) return "";
  if (stops_.empty()) {
    seen_bytes_ += text.size();
    released_bytes_ += text.size();
    return std::string(text);
  }
  held_.append(text.data(), text.size());
  for (char byte : text) {
    Step(byte);
    if (match_.has_value()) break;
  }
  size_t keep = 0;  // Bytes at the end of held_ that may begin a stop string.
  for (const Automaton& automaton : automata_) keep = std::max(keep, automaton.matched);
  const size_t release = match_.has_value() ? match_->begin - released_bytes_ : held_.size() - keep;
  std::string shown = held_.substr(0, release);
  held_.erase(0, release);
  if (match_.has_value()) held_.clear();
  released_bytes_ += shown.size();
  return shown;
}

std::string StopStringMatcher::Flush() {
  std::string shown = std::exchange(held_, std::string());
  released_bytes_ += shown.size();
  return shown;
}

}  // namespace quartet::gateway
