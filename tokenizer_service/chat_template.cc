#include "tokenizer_service/chat_template.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/chat_variables.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer {
namespace {

// Steps that finding out how a template prints calls may take; real templates take a few hundred.
constexpr int64_t kProbeSteps = 100'000;

absl::Status Naming(absl::string_view what, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

// Long conversations may cost more than short ones.
jinja::Limits LimitsFor(size_t num_input_bytes) {
  jinja::Limits limits;
  limits.max_steps += 4 * static_cast<int64_t>(num_input_bytes);
  limits.max_value_bytes += 16 * num_input_bytes;
  limits.max_output_bytes += 2 * num_input_bytes;
  return limits;
}

size_t InputBytes(const Conversation& conversation) {
  size_t num_bytes = conversation.template_kwargs_json.size();
  for (const ChatTurn& turn : conversation.turns) {
    num_bytes += turn.content.size();
    for (const ChatToolCall& call : turn.tool_calls) num_bytes += call.arguments_json.size();
  }
  for (const std::string& tool : conversation.tools_json) num_bytes += tool.size();
  for (const std::string& document : conversation.documents_json) num_bytes += document.size();
  return num_bytes;
}

absl::StatusOr<std::string> RenderWith(const jinja::Template& jinja, CallStyle style,
                                       const Conversation& conversation,
                                       const ChatTemplateSource& source,
                                       const jinja::Limits& limits, std::time_t now) {
  jinja::Heap heap(limits);
  ASSIGN_OR_RETURN(const jinja::Dict* const variables,
                   ChatVariables(conversation, source, style, &heap));
  absl::StatusOr<std::string> text = jinja.Render(*variables, &heap, now);
  if (text.ok()) return text;
  // A limit that is reached is reached again, so this is no case for trying again later.
  return absl::InvalidArgumentError(absl::StrCat("chat_template: ", text.status().message()));
}

// Renders a small conversation in every style; the first in which the call is in the prompt is the
// template's. If none is, the template prints no calls and the style does not matter.
CallStyle FindCallStyle(const jinja::Template& jinja, const ChatTemplateSource& source) {
  constexpr absl::string_view kCalled = "quartet_probe";
  jinja::Limits limits;
  limits.max_steps = kProbeSteps;
  Conversation probe;
  probe.turns = {{"user", "a", {}, "", ""},
                 {"assistant", "", {{std::string(kCalled), "{\"x\": 1}", "call00000"}}, "", ""},
                 {"tool", "b", {}, "call00000", ""},
                 {"user", "c", {}, "", ""}};
  probe.tools_json = {
      R"({"type": "function", "function": {"name": "f", "description": "d",
          "parameters": {"type": "object", "properties": {}}}})"};
  for (const bool content_is_none : {false, true}) {
    for (const bool arguments_are_text : {false, true}) {
      const CallStyle style{content_is_none, arguments_are_text};
      const absl::StatusOr<std::string> text = RenderWith(jinja, style, probe, source, limits, 0);
      if (text.ok() && text->find(std::string(kCalled)) != std::string::npos) return style;
    }
  }
  return CallStyle();
}

// A role that the template does not know would give a prompt that the model has never seen.
// Beside the usual ones a template knows those that it names.
absl::Status CheckRoles(const Conversation& conversation, absl::string_view template_text) {
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    const std::string& role = conversation.turns[i].role;
    bool known = role == "system" || role == "user" || role == "assistant" || role == "tool";
    for (const char quote : {'\'', '"'}) {
      const std::string name = absl::StrCat(std::string(1, quote), role, std::string(1, quote));
      known |= !role.empty() && template_text.find(name) != absl::string_view::npos;
    }
    if (known) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "messages[", i, "].role is \"", absl::CHexEscape(role.substr(0, 40)),
        "\"; known are system, user, assistant, tool and those that the chat template names"));
  }
  return absl::OkStatus();
}

// The prompt up to the end of the last turn's content, as transformers finds it.
absl::StatusOr<std::string> CutAfterFinalMessage(std::string text, absl::string_view content) {
  const absl::string_view tag = jinja::Strip(kContinueTag);
  const size_t at = absl::string_view(text).rfind(tag);
  const absl::string_view final_message = jinja::Strip(content);
  if (at == absl::string_view::npos ||
      jinja::FindFirst(text, final_message) == absl::string_view::npos) {
    return absl::InvalidArgumentError(
        "continue_final_message: the chat template does not show the final message as it is, so "
        "it can't be continued");
  }
  const bool keeps_space = absl::string_view(text).substr(at, kContinueTag.size()) == kContinueTag;
  text.resize(at);
  // Where the template trims contents the space before the tag is gone too.
  if (!keeps_space) text.resize(jinja::StripRight(text).size());
  return text;
}

}  // namespace

ChatTemplate::ChatTemplate(ChatTemplateSource source) : source_(std::move(source)) {
  if (source_.text.empty()) {
    status_ = absl::FailedPreconditionError(
        "the model has no chat template; use plain completions, or send a chat_template");
    return;
  }
  for (const bool tool_use : {false, true}) {
    const std::string& text = tool_use ? source_.tool_use_text : source_.text;
    if (text.empty()) continue;
    absl::StatusOr<PreparedTemplate> prepared = Prepare(text, true);
    if (!prepared.ok()) {
      status_ = absl::FailedPreconditionError(absl::StrCat(
          "the model's ", tool_use ? "tool_use " : "", "chat template can't be used: ",
          prepared.status().message(), "; use plain completions, or send a chat_template"));
      return;
    }
    (tool_use ? tool_use_ : default_) = *std::move(prepared);
  }
}

absl::StatusOr<PreparedTemplate> ChatTemplate::Prepare(absl::string_view text,
                                                       bool has_calls) const {
  ASSIGN_OR_RETURN(jinja::Template jinja, jinja::Template::Parse(text));
  const CallStyle style = has_calls ? FindCallStyle(jinja, source_) : CallStyle();
  return PreparedTemplate{std::move(jinja), std::string(text), style};
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation,
                                                 std::time_t now) const {
  if (conversation.turns.empty()) {
    return absl::InvalidArgumentError("messages is empty; a conversation has at least one turn");
  }
  if (conversation.continue_final_message && conversation.add_generation_prompt) {
    return absl::InvalidArgumentError(
        "continue_final_message and add_generation_prompt are both true; a prompt ends either with "
        "the open final message or with the opening of a new one");
  }
  std::optional<PreparedTemplate> sent;
  if (!conversation.chat_template.empty()) {
    bool has_calls = false;
    for (const ChatTurn& turn : conversation.turns) has_calls |= !turn.tool_calls.empty();
    absl::StatusOr<PreparedTemplate> prepared = Prepare(conversation.chat_template, has_calls);
    if (!prepared.ok()) return Naming("chat_template", prepared.status());
    sent = *std::move(prepared);
  } else {
    RETURN_IF_ERROR(status_);
  }
  const bool uses_tools = tool_use_.has_value() && !conversation.tools_json.empty();
  const PreparedTemplate& used = sent.has_value() ? *sent : uses_tools ? *tool_use_ : *default_;
  RETURN_IF_ERROR(CheckRoles(conversation, used.text));
  ASSIGN_OR_RETURN(std::string text, RenderWith(used.jinja, used.call_style, conversation, source_,
                                                LimitsFor(InputBytes(conversation)), now));
  if (!conversation.continue_final_message) return text;
  return CutAfterFinalMessage(std::move(text), conversation.turns.back().content);
}

}  // namespace quartet::tokenizer
