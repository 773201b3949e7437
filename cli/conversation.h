// The state of `quartet chat`: the turns so far, and what a line that the user typed means.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::cli {

struct Turn {
  std::string role;
  std::string content;
};

class Conversation {
 public:
  // `system` may be empty: then the model's template decides.
  explicit Conversation(absl::string_view system);

  const std::vector<Turn>& turns() const { return turns_; }
  void AddUser(absl::string_view text);
  // What the model said; an answer that was stopped before its first word takes its question with
  // it, so that the turns still alternate.
  void AddAssistant(absl::string_view text);
  void Reset();

 private:
  std::string system_;
  std::vector<Turn> turns_;
};

enum class LineKind { kMessage, kEmpty, kReset, kHelp, kExit, kUnknownCommand };

// A line that begins with '/' is a command.
LineKind ClassifyLine(absl::string_view line);

}  // namespace quartet::cli
