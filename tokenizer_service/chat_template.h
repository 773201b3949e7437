// Renders conversations exactly as the models' own Jinja templates do. Templates are recognised
// from their text; one that is not known is refused, because an almost right prompt is a wrong one.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

struct ChatToolCall {
  std::string name;
  std::string arguments_json;  // empty means {}
};

struct ChatTurn {
  std::string role;
  std::string content;
  std::vector<ChatToolCall> tool_calls;
};

struct Conversation {
  std::vector<ChatTurn> turns;
  std::vector<std::string> tools_json;
  bool add_generation_prompt = true;
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  // Recognises the templates of Qwen2.5 (any default system prompt) and SmolLM2. Returns
  // FAILED_PRECONDITION, saying which are supported, if `jinja` is empty or another one.
  static absl::StatusOr<ChatTemplate> Recognize(absl::string_view jinja);

  // The prompt. Returns INVALID_ARGUMENT naming the turn if a role is unknown or a JSON text is not
  // JSON.
  absl::StatusOr<std::string> Render(const Conversation& conversation) const;

  // "Qwen2.5" or "SmolLM2".
  absl::string_view name() const;

 private:
  enum class Family { kQwen25, kSmolLm2 };

  Family family_ = Family::kQwen25;
  std::string default_system_;  // what the template says if the conversation does not
};

}  // namespace quartet::tokenizer
