#include "tokenizer_service/chat_variables.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/json_reader.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

using jinja::Dict;
using jinja::Heap;
using jinja::Value;

absl::Status Naming(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::StatusOr<Value> Text(absl::string_view field, const std::string& text) {
  const size_t invalid = FindInvalidUtf8(text);
  if (invalid != absl::string_view::npos) {
    return Naming(field, absl::StrCat("is not UTF-8 at byte offset ", invalid));
  }
  return Value::String(text);
}

absl::StatusOr<Value> JsonObject(absl::string_view field, absl::string_view text, Heap* heap) {
  const absl::StatusOr<Value> value = jinja::ReadJson(text, heap);
  if (!value.ok()) return Naming(field, value.status().message());
  if (!value->is_dict()) return Naming(field, "is no JSON object");
  return *value;
}

// None if there are none, as transformers passes it.
absl::StatusOr<Value> JsonObjects(absl::string_view list, const std::vector<std::string>& texts,
                                  Heap* heap) {
  if (texts.empty()) return Value::None();
  std::vector<Value> objects;
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSIGN_OR_RETURN(const Value object,
                     JsonObject(absl::StrCat(list, "[", i, "]"), texts[i], heap));
    objects.push_back(object);
  }
  return heap->NewList(std::move(objects));
}

void Add(Dict* dict, absl::string_view key, const Value& value, Heap* heap) {
  dict->Set(Value::String(key), value);
  heap->CountEntries(1);
}

absl::StatusOr<Value> CallValue(const ChatToolCall& call, absl::string_view field,
                                bool arguments_are_text, Heap* heap) {
  Dict* const function = heap->NewDict();
  ASSIGN_OR_RETURN(const Value name, Text(absl::StrCat(field, ".name"), call.name));
  Add(function, "name", name, heap);
  const std::string arguments_field = absl::StrCat(field, ".arguments");
  const absl::string_view json =
      call.arguments_json.empty() ? absl::string_view("{}") : call.arguments_json;
  const absl::StatusOr<Value> arguments = jinja::ReadJson(json, heap);
  if (!arguments.ok()) return Naming(arguments_field, arguments.status().message());
  Add(function, "arguments", arguments_are_text ? Value::String(json) : *arguments, heap);
  Dict* const value = heap->NewDict();
  Add(value, "type", Value::String("function"), heap);
  ASSIGN_OR_RETURN(const Value id, Text(absl::StrCat(field, ".id"), call.id));
  if (!call.id.empty()) Add(value, "id", id, heap);
  Add(value, "function", Value::Of(function), heap);
  return Value::Of(value);
}

absl::StatusOr<Value> TurnValue(const ChatTurn& turn, size_t index, bool is_continued,
                                CallStyle style, Heap* heap) {
  const std::string field = absl::StrCat("messages[", index, "]");
  Dict* const value = heap->NewDict();
  ASSIGN_OR_RETURN(const Value role, Text(field + ".role", turn.role));
  Add(value, "role", role, heap);
  ASSIGN_OR_RETURN(Value content, Text(field + ".content", turn.content));
  if (style.content_is_none && turn.content.empty() && !turn.tool_calls.empty()) {
    content = Value::None();
  }
  if (is_continued) content = heap->NewString(absl::StrCat(turn.content, kContinueTag));
  Add(value, "content", content, heap);
  if (!turn.tool_calls.empty()) {
    std::vector<Value> calls;
    for (size_t i = 0; i < turn.tool_calls.size(); ++i) {
      ASSIGN_OR_RETURN(const Value call,
                       CallValue(turn.tool_calls[i], absl::StrCat(field, ".tool_calls[", i, "]"),
                                 style.arguments_are_text, heap));
      calls.push_back(call);
    }
    Add(value, "tool_calls", heap->NewList(std::move(calls)), heap);
  }
  ASSIGN_OR_RETURN(const Value call_id, Text(field + ".tool_call_id", turn.tool_call_id));
  if (!turn.tool_call_id.empty()) Add(value, "tool_call_id", call_id, heap);
  ASSIGN_OR_RETURN(const Value name, Text(field + ".name", turn.name));
  if (!turn.name.empty()) Add(value, "name", name, heap);
  return Value::Of(value);
}

}  // namespace

absl::StatusOr<Dict*> ChatVariables(const Conversation& conversation,
                                    const ChatTemplateSource& source, CallStyle style, Heap* heap) {
  Dict* const variables = heap->NewDict();
  std::vector<Value> messages;
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    const bool is_continued =
        conversation.continue_final_message && i + 1 == conversation.turns.size();
    ASSIGN_OR_RETURN(const Value turn,
                     TurnValue(conversation.turns[i], i, is_continued, style, heap));
    messages.push_back(turn);
  }
  Add(variables, "messages", heap->NewList(std::move(messages)), heap);
  ASSIGN_OR_RETURN(const Value tools, JsonObjects("tools", conversation.tools_json, heap));
  Add(variables, "tools", tools, heap);
  ASSIGN_OR_RETURN(const Value documents,
                   JsonObjects("documents", conversation.documents_json, heap));
  Add(variables, "documents", documents, heap);
  Add(variables, "add_generation_prompt", Value::Bool(conversation.add_generation_prompt), heap);
  const size_t num_own = variables->entries.size();
  for (const auto& [name, text] : source.special_tokens) {
    Add(variables, name, Value::String(text), heap);
  }
  if (conversation.template_kwargs_json.empty()) return variables;
  ASSIGN_OR_RETURN(const Value more,
                   JsonObject("template_kwargs_json", conversation.template_kwargs_json, heap));
  for (const auto& [name, value] : more.dict().entries) {
    for (size_t i = 0; i < num_own; ++i) {
      if (variables->entries[i].first.text() != name.text()) continue;
      return Naming("template_kwargs_json",
                    absl::StrCat("'", name.text(), "' is a field of the request, not a variable"));
    }
    Add(variables, name.text(), value, heap);
  }
  return variables;
}

}  // namespace quartet::tokenizer
