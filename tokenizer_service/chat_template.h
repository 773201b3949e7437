// Makes prompts of conversations, as transformers' apply_chat_template does: by the Jinja template
// that came with the model, or one that the client sends.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/conversation.h"
#include "tokenizer_service/jinja/template.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// How a template wants turns that call tools. Some print calls only if there is no content, some
// add the arguments to text as they are.
struct CallStyle {
  bool content_is_none = false;     // where it is empty
  bool arguments_are_text = false;  // else an object
};

// A template that can be used, with what was found out about it.
struct PreparedTemplate {
  jinja::Template jinja;
  std::string text;
  CallStyle call_style;
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  explicit ChatTemplate(ChatTemplateSource source);

  // OK if the model's own template can be used. Else FAILED_PRECONDITION: it has none, or the
  // evaluator can't read it (the message names the line and why).
  const absl::Status& status() const { return status_; }

  // The prompt; `now` is what the template takes for the time. Returns INVALID_ARGUMENT naming the
  // field (messages[i]..., tools[i], documents[i], template_kwargs_json, chat_template) or what the
  // template objects to, or that it takes too much; status() if the model's template is needed and
  // can't be used.
  absl::StatusOr<std::string> Render(const Conversation& conversation, std::time_t now) const;

 private:
  // `has_calls`: whether the style of calls matters.
  absl::StatusOr<PreparedTemplate> Prepare(absl::string_view text, bool has_calls) const;

  ChatTemplateSource source_;
  absl::Status status_;
  std::optional<PreparedTemplate> default_;
  std::optional<PreparedTemplate> tool_use_;
};

}  // namespace quartet::tokenizer
