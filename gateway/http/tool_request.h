// The part of a chat request that says which functions the model may call, and how the answer is
// held to that.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/generation_types.h"
#include "gateway/tool_call_parser.h"

namespace quartet::gateway::http {

struct ToolFunction {
  std::string name;
  // JSON Schema of the arguments: an object's.
  std::string parameters_json;
  // The arguments must fit even if the model is free to call or not.
  bool strict = false;
};

// Which calls an answer may or must make.
struct ToolUse {
  enum class Choice {
    kNone,      // No tools, or none to be called: the text is not read for calls.
    kAuto,      // The model decides.
    kRequired,  // At least one call and nothing else.
    kNamed,     // Exactly one call of the one function in `functions`.
  };
  Choice choice = Choice::kNone;
  // Those that may be called.
  std::vector<ToolFunction> functions;
  // `functions` are not all that the model knows of.
  bool restricted = false;
  // Whether there may be several calls.
  bool parallel = true;
  // Asked for as "functions": answers are written in that older form, which has one call.
  bool legacy = false;
};

// Reads tools, tool_choice and parallel_tool_calls, or functions and function_call. The tools that
// the chat template shows go to `tools_json`. `text` is the text that `body` was parsed from.
// Returns INVALID_ARGUMENT naming the field.
absl::StatusOr<ToolUse> ReadTools(const nlohmann::json& body, absl::string_view text,
                                  std::vector<std::string>* tools_json);

// The shape of the answer that `tools` ask for beside `format`, which is the one that the request
// asks for text; nullopt if neither does. Returns INVALID_ARGUMENT if they can't go together.
absl::StatusOr<std::optional<StructuredOutput>> ConstrainToTools(
    const ToolUse& tools, const std::optional<StructuredOutput>& format);

// How answers are read for calls.
ToolCallParser::Options ParserOptions(const ToolUse& tools);

// A string that ends an answer once its only call is complete, where nothing else does; or empty.
std::string StopAfterCall(const ToolUse& tools);

}  // namespace quartet::gateway::http
