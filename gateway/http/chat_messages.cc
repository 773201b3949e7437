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

absl::StatusOr<std::string> ReadContent(const FieldReader& fields, const std::string& where) {
  const json* const content = fields.Find("content");
  if (content == nullptr) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return fields.Wrong("content", "a string or a list of parts");
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const json& part = (*content)[i];
    if (part.is_object() && part.value("type", json()) == json("text") && part.contains("text") &&
        part["text"].is_string()) {
      text += part["text"].get_ref<const std::string&>();
      continue;
    }
    const std::string field = absl::StrCat(where, "content[", i, "]");
    return InvalidField(field, absl::StrCat(field,
                                            " must be {\"type\": \"text\", \"text\": ...}; "
                                            "other parts are not supported, got ",
                                            Show(part)));
  }
  return text;
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
    ToolCall call;
    call.arguments_json = "{}";
    RETURN_IF_ERROR(FieldReader(element, at).Read("id", &call.id));
    const FieldReader function(element["function"], at + "function.");
    RETURN_IF_ERROR(function.Read("name", &call.name));
    RETURN_IF_ERROR(function.Read("arguments", &call.arguments_json));
    if (call.name.empty()) return function.Wrong("name", "a string");
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
  // The newer name of the same role.
  if (message.role == "developer") message.role = "system";
  if (message.role != "system" && message.role != "user" && message.role != "assistant" &&
      message.role != "tool") {
    return fields.Wrong("role", "\"system\", \"user\", \"assistant\" or \"tool\"");
  }
  ASSIGN_OR_RETURN(message.content, ReadContent(fields, where));
  RETURN_IF_ERROR(fields.Read("name", &message.name));
  RETURN_IF_ERROR(fields.Read("tool_call_id", &message.tool_call_id));
  RETURN_IF_ERROR(ReadToolCalls(fields, where, &message.tool_calls));
  if (fields.Find("content") == nullptr && message.tool_calls.empty()) {
    return fields.Wrong("content", "a string or a list of parts");
  }
  return message;
}

absl::Status ReadTools(const json& body, absl::string_view text, ChatPrompt* chat) {
  const FieldReader fields(body);
  if (fields.Find("functions") != nullptr || fields.Find("function_call") != nullptr) {
    return InvalidField("functions", "functions and function_call are not supported; use tools");
  }
  const json* const choice = fields.Find("tool_choice");
  if (choice != nullptr && *choice != json("auto") && *choice != json("none")) {
    return InvalidField("tool_choice", absl::StrCat("tool_choice other than \"auto\" or \"none\" "
                                                    "is not supported in this release, got ",
                                                    Show(*choice)));
  }
  const json* const tools = fields.Find("tools");
  if (tools == nullptr) return absl::OkStatus();
  constexpr char kMust[] = "a list of {\"type\": \"function\", \"function\": {\"name\": ..., ...}}";
  if (!tools->is_array()) return fields.Wrong("tools", kMust);
  for (const json& tool : *tools) {
    const bool fits = tool.is_object() && tool.value("type", json()) == json("function") &&
                      tool.contains("function") && tool["function"].is_object() &&
                      tool["function"].value("name", json()).is_string();
    if (!fits) return fields.Wrong("tools", kMust);
  }
  if (choice != nullptr && *choice == json("none")) return absl::OkStatus();
  ASSIGN_OR_RETURN(chat->tools_json, OrderedElements(text, "tools"));
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
  RETURN_IF_ERROR(fields.Read("add_generation_prompt", &chat.add_generation_prompt));
  RETURN_IF_ERROR(ReadTools(body, text, &chat));
  return chat;
}

}  // namespace quartet::gateway::http
