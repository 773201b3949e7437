#include "gateway/http/responses_items.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

std::string ShowItem(const json& value) { return Show(nlohmann::json(value)); }

absl::Status WrongField(const std::string& at, const char* name, const json& item,
                        const char* must_be) {
  const std::string field = absl::StrCat(at, ".", name);
  return InvalidField(field, absl::StrCat(field, " must be ", must_be, ", got ",
                                          ShowItem(item.value(name, json()))));
}

bool HasString(const json& item, const char* name) {
  return item.contains(name) && item[name].is_string();
}

void Append(json message, const std::string& at, const ItemMessages& to) {
  to.messages->push_back(std::move(message));
  to.sources->push_back(at);
}

// A call joins the assistant's message before it, as it came with it.
void AppendCall(json call, const std::string& at, const ItemMessages& to) {
  const bool joins = !to.messages->empty() && to.messages->back()["role"] == "assistant" &&
                     to.sources->back() != "";
  if (!joins) Append({{"role", "assistant"}, {"content", nullptr}}, at, to);
  to.messages->back()["tool_calls"].push_back(std::move(call));
}

absl::Status AppendItem(const json& item, const std::string& at, const ItemMessages& to) {
  if (!item.is_object()) {
    return InvalidField(at, absl::StrCat(at, " must be an object, got ", ShowItem(item)));
  }
  const json type = item.value("type", json("message"));
  if (type == json("message")) {
    json message = {{"role", item.value("role", json())}};
    message["content"] = item.value("content", json());
    Append(std::move(message), at, to);
    return absl::OkStatus();
  }
  if (type == json("function_call")) {
    for (const char* name : {"call_id", "name", "arguments"}) {
      if (!HasString(item, name)) return WrongField(at, name, item, "a string");
    }
    AppendCall({{"id", item["call_id"]},
                {"type", "function"},
                {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}},
               at, to);
    return absl::OkStatus();
  }
  if (type == json("function_call_output")) {
    if (!HasString(item, "call_id")) return WrongField(at, "call_id", item, "a string");
    const json output = item.value("output", json());
    if (!output.is_string() && !output.is_array()) {
      return WrongField(at, "output", item, "a string or a list of text parts");
    }
    Append({{"role", "tool"}, {"tool_call_id", item["call_id"]}, {"content", output}}, at, to);
    return absl::OkStatus();
  }
  return InvalidField(at, absl::StrCat(at,
                                       ".type must be \"message\", \"function_call\" or "
                                       "\"function_call_output\", got ",
                                       ShowItem(type)));
}

}  // namespace

absl::Status AppendInput(const json& input, const ItemMessages& to) {
  if (input.is_string()) {
    Append({{"role", "user"}, {"content", input}}, "input", to);
    return absl::OkStatus();
  }
  if (!input.is_array() || input.empty()) {
    return InvalidField("input", absl::StrCat("input must be a string or a list of at least one "
                                              "item, got ",
                                              ShowItem(input)));
  }
  for (size_t i = 0; i < input.size(); ++i) {
    RETURN_IF_ERROR(AppendItem(input[i], absl::StrCat("input[", i, "]"), to));
  }
  return absl::OkStatus();
}

void AppendOutput(const json& output, json* messages) {
  std::vector<std::string> sources(messages->size());
  const ItemMessages to{messages, &sources};
  for (const json& item : output) {
    if (item["type"] == "message") {
      Append({{"role", "assistant"}, {"content", item["content"][0]["text"]}}, "output", to);
    } else {
      AppendCall({{"id", item["call_id"]},
                  {"type", "function"},
                  {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}},
                 "output", to);
    }
  }
}

}  // namespace quartet::gateway::http
