#include "cli/conversation.h"

#include "absl/strings/ascii.h"

namespace quartet::cli {

Conversation::Conversation(absl::string_view system) : system_(system) { Reset(); }

void Conversation::AddUser(absl::string_view text) {
  turns_.push_back({"user", std::string(text)});
}

void Conversation::AddAssistant(absl::string_view text) {
  if (text.empty()) {
    turns_.pop_back();
  } else {
    turns_.push_back({"assistant", std::string(text)});
  }
}

void Conversation::Reset() {
  turns_.clear();
  if (!system_.empty()) turns_.push_back({"system", system_});
}

LineKind ClassifyLine(absl::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  if (line.empty()) return LineKind::kEmpty;
  if (line[0] != '/') return LineKind::kMessage;
  if (line == "/reset") return LineKind::kReset;
  if (line == "/help") return LineKind::kHelp;
  if (line == "/exit" || line == "/quit") return LineKind::kExit;
  return LineKind::kUnknownCommand;
}

}  // namespace quartet::cli
