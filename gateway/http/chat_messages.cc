#include "gateway/http/chat_messages.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

// One part of a message's content.
absl::StatusOr<std::string> ReadPart(const json& part, const std::string& where) {
  const json type = part.is_object() ? part.value("type", json()) : json();
  if (!type.is_string()) {
    return InvalidField(
        where,
        absl::StrCat(where, " must be {\"type\": \"text\", \"text\": ...}, got ", Show(part)));
  }
  // Assistants' refusals are text that the model has said before.
  const char* const field = type == json("refusal") ? "refusal" : "text";
  const bool is_text = type == json("text") || type == json("refusal") ||
                       type == json("input_text") || type == json("output_text");
  if (!is_text) {
    return InvalidField(where, absl::StrCat(where, " is of type ", Show(type),
                                            ": the model reads text only; send parts of type "
                                            "\"text\""));
  }
  const FieldReader fields(part, where + ".");
  std::string text;
  if (fields.Find(field) == nullptr) return fields.Wrong(field, "a string");
  RETURN_IF_ERROR(fields.Read(field, &text));
  return text;
}

absl::StatusOr<std::string> ReadContent(const FieldReader& fields, const std::string& where) {
  const json* const content = fields.Find("content");
  if (content == nullptr) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return fields.Wrong("content", "a string or a list of parts");
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    ASSIGN_OR_RETURN(const std::string part,
                     ReadPart((*content)[i], absl::StrCat(where, "content[", i, "]")));
    text += part;
  }
  return text;
}

// The "function" of a tool call, or the older "function_call".
absl::StatusOr<ToolCall> ReadCall(const json& function, const std::string& where) {
  ToolCall call;
  call.arguments_json = "{}";
  const FieldReader fields(function, where);
  RETURN_IF_ERROR(fields.Read("name", &call.name));
  RETURN_IF_ERROR(fields.Read("arguments", &call.arguments_json));
  if (call.name.empty()) return fields.Wrong("name", "a string");
  if (call.arguments_json.empty()) call.arguments_json = "{}";
  return call;
}

absl::Status ReadToolCalls(const FieldReader& fields, const std::string& where,
                           std::vector<ToolCall>* calls) {
  const json* const list = fields.Find("tool_calls");
  if (list == nullptr) return absl::OkStatus();
  constexpr char kMust[] = "a list of {\"id\", \"type\": \"function\", \"function\": {...}}";
  if (!list->is_array()) return fields.Wrong("tool_calls", kMust);
  for (size_t i = 0; i < list->size(); ++i) {
    const json& element = (*list)[i];
    if (!element.is_object() || !element.contains("function") || !element["function"].is_object()) {
      return fields.Wrong("tool_calls", kMust);
    }
    const std::string at = absl::StrCat(where, "tool_calls[", i, "].");
    ASSIGN_OR_RETURN(ToolCall call, ReadCall(element["function"], at + "function."));
    const FieldReader call_fields(element, at);
    RETURN_IF_ERROR(call_fields.Read("id", &call.id));
    std::string type = "function";
    RETURN_IF_ERROR(call_fields.Read("type", &type));
    if (type != "function") return call_fields.Wrong("type", "\"function\"");
    calls->push_back(std::move(call));
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatMessage> ReadMessage(const json& value, size_t index) {
  const std::string where = absl::StrCat("messages[", index, "].");
  if (!value.is_object()) {
    return InvalidField("messages",
                        absl::StrCat("messages[", index, "] must be an object, got ", Show(value)));
  }
  const FieldReader fields(value, where);
  ChatMessage message;
  RETURN_IF_ERROR(fields.Read("role", &message.role));
  // The newer name of the one role, and the older of the other.
  if (message.role == "developer") message.role = "system";
  if (message.role == "function") message.role = "tool";
  if (message.role != "system" && message.role != "user" && message.role != "assistant" &&
      message.role != "tool") {
    return fields.Wrong("role", "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
  }
  ASSIGN_OR_RETURN(message.content, ReadContent(fields, where));
  RETURN_IF_ERROR(fields.Read("name", &message.name));
  RETURN_IF_ERROR(fields.Read("tool_call_id", &message.tool_call_id));
  RETURN_IF_ERROR(ReadToolCalls(fields, where, &message.tool_calls));
  if (const json* const call = fields.Find("function_call"); call != nullptr) {
    if (!call->is_object())
      return fields.Wrong("function_call", "an object with name and arguments");
    ASSIGN_OR_RETURN(ToolCall read, ReadCall(*call, where + "function_call."));
    message.tool_calls.push_back(std::move(read));
  }
  if (fields.Find("content") == nullptr && message.tool_calls.empty()) {
    return fields.Wrong("content", "a string or a list of parts");
  }
  return message;
}

// How the template is to end the prompt.
absl::Status ReadEnding(const FieldReader& fields, ChatPrompt* chat) {
  std::optional<bool> add_generation_prompt;
  RETURN_IF_ERROR(fields.Read("add_generation_prompt", &add_generation_prompt));
  RETURN_IF_ERROR(fields.Read("continue_final_message", &chat->continue_final_message));
  chat->add_generation_prompt = add_generation_prompt.value_or(!chat->continue_final_message);
  if (chat->add_generation_prompt && chat->continue_final_message) {
    return InvalidField("continue_final_message",
                        "continue_final_message and add_generation_prompt can't both be true: the "
                        "answer either continues the last message or begins a new one");
  }
  return absl::OkStatus();
}

// What else the template sees, and the template itself.
absl::Status ReadTemplate(const FieldReader& fields, absl::string_view text, ChatPrompt* chat) {
  RETURN_IF_ERROR(fields.Read("chat_template", &chat->chat_template));
  if (const json* const kwargs = fields.Find("chat_template_kwargs"); kwargs != nullptr) {
    if (!kwargs->is_object()) return fields.Wrong("chat_template_kwargs", "an object");
    ASSIGN_OR_RETURN(chat->template_kwargs_json, OrderedText(text, {"chat_template_kwargs"}));
  }
  const json* const documents = fields.Find("documents");
  if (documents == nullptr) return absl::OkStatus();
  constexpr char kMust[] = "a list of objects, e.g. [{\"title\": ..., \"text\": ...}]";
  if (!documents->is_array()) return fields.Wrong("documents", kMust);
  for (const json& document : *documents) {
    if (!document.is_object()) return fields.Wrong("documents", kMust);
  }
  ASSIGN_OR_RETURN(chat->documents_json, OrderedElements(text, "documents"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatPrompt> ReadChat(const json& body, absl::string_view text) {
  const FieldReader fields(body);
  const json* const messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return fields.Wrong("messages", "a list of at least one message");
  }
  ChatPrompt chat;
  for (size_t i = 0; i < messages->size(); ++i) {
    ASSIGN_OR_RETURN(ChatMessage message, ReadMessage((*messages)[i], i));
    chat.messages.push_back(std::move(message));
  }
  RETURN_IF_ERROR(ReadEnding(fields, &chat));
  RETURN_IF_ERROR(ReadTemplate(fields, text, &chat));
  return chat;
}

}  // namespace quartet::gateway::http
