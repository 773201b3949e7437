#include "tokenizer_service/chat_template.h"

#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "tokenizer_service/json_text.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {
namespace {

// SHA-256 of the template texts with the default system prompt replaced by kPlaceholder wherever it
// stands.
constexpr absl::string_view kQwen25Hash =
    "88ed52449a058f80d6dc45c2a7a8f58d6492a4acce1ba83f56bfa15f3e95cedd";
constexpr absl::string_view kSmolLm2Hash =
    "004fb79dabf692b682a7e9e37e2f780fc14123f76303231bcb34785fdfae53e0";
constexpr absl::string_view kPlaceholder = "<default system prompt>";

// What stands before and after the default system prompt in each family.
constexpr absl::string_view kQwen25Before = "{{- '<|im_start|>system\\n";
constexpr absl::string_view kQwen25After = "<|im_end|>\\n' }}";
constexpr absl::string_view kSmolLm2Before = "{{ '<|im_start|>system\\n";
constexpr absl::string_view kSmolLm2After = "<|im_end|>\\n' }}";

constexpr absl::string_view kToolsBefore =
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
constexpr absl::string_view kToolsAfter =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
    "\"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";

// The text between the last `before` that a plain text follows and `after`; nothing if it holds
// what Jinja would interpret.
std::optional<std::string> FindDefaultSystem(absl::string_view jinja, absl::string_view before,
                                             absl::string_view after) {
  for (size_t at = jinja.find(before); at != absl::string_view::npos;
       at = jinja.find(before, at + 1)) {
    const size_t begin = at + before.size();
    const size_t stop = jinja.find(after, begin);
    if (stop == absl::string_view::npos) break;
    const absl::string_view text = jinja.substr(begin, stop - begin);
    if (!text.empty() && text.find_first_of("'\\\n{}") == absl::string_view::npos) {
      return std::string(text);
    }
  }
  return std::nullopt;
}

// Whether `jinja` is the template with `hash`; sets *default_system.
bool Matches(absl::string_view jinja, absl::string_view before, absl::string_view after,
             absl::string_view hash, std::string* default_system) {
  const std::optional<std::string> found = FindDefaultSystem(jinja, before, after);
  if (!found.has_value()) return false;
  const std::string skeleton = absl::StrReplaceAll(jinja, {{*found, kPlaceholder}});
  *default_system = *found;
  return Sha256Hex(skeleton) == hash;
}

absl::Status Refused(size_t turn, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("messages[", turn, "]", what));
}

absl::Status AppendToolCalls(const ChatTurn& turn, size_t index, std::string* out) {
  for (size_t i = 0; i < turn.tool_calls.size(); ++i) {
    const ChatToolCall& call = turn.tool_calls[i];
    absl::StatusOr<std::string> arguments =
        call.arguments_json.empty() ? std::string("{}") : RewriteJson(call.arguments_json);
    if (!arguments.ok()) {
      return Refused(
          index, absl::StrCat(".tool_calls[", i, "].arguments: ", arguments.status().message()));
    }
    absl::StrAppend(out, "\n<tool_call>\n{\"name\": \"", call.name,
                    "\", \"arguments\": ", *arguments, "}\n</tool_call>");
  }
  return absl::OkStatus();
}

absl::Status AppendQwenSystem(const Conversation& conversation, absl::string_view default_system,
                              std::string* out) {
  const ChatTurn& first = conversation.turns.front();
  absl::StrAppend(out, "<|im_start|>system\n",
                  first.role == "system" ? absl::string_view(first.content) : default_system);
  if (conversation.tools_json.empty()) {
    absl::StrAppend(out, "<|im_end|>\n");
    return absl::OkStatus();
  }
  absl::StrAppend(out, kToolsBefore);
  for (size_t i = 0; i < conversation.tools_json.size(); ++i) {
    const absl::StatusOr<std::string> tool = RewriteJson(conversation.tools_json[i]);
    if (!tool.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("tools[", i, "]: ", tool.status().message()));
    }
    absl::StrAppend(out, "\n", *tool);
  }
  absl::StrAppend(out, kToolsAfter);
  return absl::OkStatus();
}

absl::Status AppendQwenTurn(const std::vector<ChatTurn>& turns, size_t i, std::string* out) {
  const ChatTurn& turn = turns[i];
  const bool calls = turn.role == "assistant" && !turn.tool_calls.empty();
  if (turn.role == "tool") {
    if (i == 0 || turns[i - 1].role != "tool") absl::StrAppend(out, "<|im_start|>user");
    absl::StrAppend(out, "\n<tool_response>\n", turn.content, "\n</tool_response>");
    if (i + 1 == turns.size() || turns[i + 1].role != "tool") absl::StrAppend(out, "<|im_end|>\n");
  } else if (calls) {
    absl::StrAppend(out, "<|im_start|>assistant", turn.content.empty() ? "" : "\n", turn.content);
    RETURN_IF_ERROR(AppendToolCalls(turn, i, out));
    absl::StrAppend(out, "<|im_end|>\n");
  } else if (turn.role != "system" || i > 0) {
    absl::StrAppend(out, "<|im_start|>", turn.role, "\n", turn.content, "<|im_end|>\n");
  }
  return absl::OkStatus();
}

absl::Status RenderQwen25(const Conversation& conversation, absl::string_view default_system,
                          std::string* out) {
  RETURN_IF_ERROR(AppendQwenSystem(conversation, default_system, out));
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    RETURN_IF_ERROR(AppendQwenTurn(conversation.turns, i, out));
  }
  return absl::OkStatus();
}

void RenderSmolLm2(const Conversation& conversation, absl::string_view default_system,
                   std::string* out) {
  if (conversation.turns.front().role != "system") {
    absl::StrAppend(out, "<|im_start|>system\n", default_system, "<|im_end|>\n");
  }
  for (const ChatTurn& turn : conversation.turns) {
    absl::StrAppend(out, "<|im_start|>", turn.role, "\n", turn.content, "<|im_end|>\n");
  }
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Recognize(absl::string_view jinja) {
  constexpr absl::string_view kSupported =
      "supported are those of Qwen2.5 and SmolLM2; use plain completions, or give the model's "
      "directory one of these templates";
  if (jinja.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model has no chat template; ", kSupported));
  }
  ChatTemplate result;
  const absl::string_view given = jinja;
  absl::ConsumeSuffix(&jinja, "\n");  // Jinja drops it too.
  if (Matches(jinja, kQwen25Before, kQwen25After, kQwen25Hash, &result.default_system_)) {
    result.family_ = Family::kQwen25;
    return result;
  }
  // Some files hold the line breaks inside SmolLM2's strings as such, some as \n. Jinja reads both
  // alike.
  const std::string spelled = absl::StrReplaceAll(jinja, {{"\n", "\\n"}});
  if (Matches(spelled, kSmolLm2Before, kSmolLm2After, kSmolLm2Hash, &result.default_system_)) {
    result.family_ = Family::kSmolLm2;
    return result;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the model's chat template (SHA-256 ", Sha256Hex(given), ", beginning \"",
                   absl::CHexEscape(given.substr(0, 60)), "\") is unknown; ", kSupported));
}

absl::string_view ChatTemplate::name() const {
  return family_ == Family::kQwen25 ? "Qwen2.5" : "SmolLM2";
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation) const {
  if (conversation.turns.empty()) {
    return absl::InvalidArgumentError("messages is empty; a conversation has at least one turn");
  }
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    const std::string& role = conversation.turns[i].role;
    if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
      return Refused(i, absl::StrCat(".role is \"", absl::CHexEscape(role.substr(0, 40)),
                                     "\"; known are system, user, assistant and tool"));
    }
  }
  std::string prompt;
  if (family_ == Family::kQwen25) {
    RETURN_IF_ERROR(RenderQwen25(conversation, default_system_, &prompt));
  } else {
    RenderSmolLm2(conversation, default_system_, &prompt);
  }
  if (conversation.add_generation_prompt) absl::StrAppend(&prompt, "<|im_start|>assistant\n");
  return prompt;
}

}  // namespace quartet::tokenizer
