#include "gateway/http/tool_call_json.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace quartet::gateway::http {

using json = nlohmann::ordered_json;

ToolCallShape ToolCallShape::Of(const ToolUse& tools) {
  return {tools.choice != ToolUse::Choice::kNone, tools.legacy,
          tools.choice == ToolUse::Choice::kNamed};
}

json ToolCallDelta(const ToolCallShape& shape, const ToolCallPart& part, const std::string& id) {
  const bool begins = part.kind == ToolCallPart::Kind::kCall;
  json function =
      begins ? json{{"name", part.text}, {"arguments", ""}} : json{{"arguments", part.text}};
  if (shape.legacy) return {{"function_call", std::move(function)}};
  json call = {{"index", part.call}};
  if (begins) {
    call["id"] = id;
    call["type"] = "function";
  }
  call["function"] = std::move(function);
  return {{"tool_calls", json::array({std::move(call)})}};
}

void AddToolCalls(const ToolCallShape& shape, const std::vector<ToolCall>& calls, json* message) {
  if (calls.empty()) return;
  json& content = (*message)["content"];
  if (content == json("")) content = nullptr;
  const auto function = [](const ToolCall& call) -> json {
    return {{"name", call.name}, {"arguments", call.arguments_json}};
  };
  if (shape.legacy) {
    (*message)["function_call"] = function(calls.front());
    return;
  }
  json list = json::array();
  for (const ToolCall& call : calls) {
    list.push_back({{"id", call.id}, {"type", "function"}, {"function", function(call)}});
  }
  (*message)["tool_calls"] = std::move(list);
}

const char* FinishReasonOfCalls(const ToolCallShape& shape) {
  if (shape.named) return "stop";
  return shape.legacy ? "function_call" : "tool_calls";
}

}  // namespace quartet::gateway::http
