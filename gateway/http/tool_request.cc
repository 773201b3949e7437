#include "gateway/http/tool_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxTools = 128;
constexpr size_t kMaxNameBytes = 128;
constexpr char kNoParameters[] =
    R"({"type":"object","properties":{},"additionalProperties":false})";

// Names stand in the prompt, in the grammar and in JSON strings as they are.
bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) ||
                  absl::string_view("_-.:/").find(c) != absl::string_view::npos;
         });
}

// `function` is {"name", "description", "parameters", "strict"}, at `where` in the request.
absl::StatusOr<ToolFunction> ReadFunction(const ordered_json& function, const std::string& where) {
  const json plain = function;
  const FieldReader fields(plain, where);
  ToolFunction read;
  RETURN_IF_ERROR(fields.Read("name", &read.name));
  if (!IsName(read.name)) {
    return fields.Wrong(
        "name", absl::StrCat("at most ", kMaxNameBytes, " letters, digits or any of \"_-.:/\""));
  }
  std::string description;
  RETURN_IF_ERROR(fields.Read("description", &description));
  RETURN_IF_ERROR(fields.Read("strict", &read.strict));
  const json* const parameters = fields.Find("parameters");
  read.parameters_json = kNoParameters;
  if (parameters == nullptr) return read;
  constexpr char kMust[] = "a JSON Schema whose type is \"object\"";
  if (!parameters->is_object()) return fields.Wrong("parameters", kMust);
  const auto type = parameters->find("type");
  if (type != parameters->end() && *type != json("object")) {
    return fields.Wrong("parameters", kMust);
  }
  ordered_json schema = function["parameters"];
  const bool says_more = schema.contains("$ref") || schema.contains("anyOf") ||
                         schema.contains("oneOf") || schema.contains("allOf");
  if (type == parameters->end() && !says_more) schema["type"] = "object";
  read.parameters_json = schema.dump();
  return read;
}

absl::StatusOr<std::vector<ToolFunction>> ReadFunctions(const std::vector<std::string>& tools_json,
                                                        const char* field, bool legacy) {
  if (tools_json.size() > kMaxTools) {
    return InvalidField(field, absl::StrCat(field, " may have at most ", kMaxTools,
                                            " elements, got ", tools_json.size()));
  }
  std::vector<ToolFunction> functions;
  std::set<std::string> names;
  for (size_t i = 0; i < tools_json.size(); ++i) {
    const std::string at = absl::StrCat(field, "[", i, "]");
    const ordered_json tool = ordered_json::parse(tools_json[i]);
    if (!tool.is_object()) {
      return InvalidField(at, absl::StrCat(at, " must be an object, got ", Show(json(tool))));
    }
    if (!legacy && tool.value("type", ordered_json()) != ordered_json("function")) {
      return InvalidField(at, absl::StrCat(at,
                                           ".type must be \"function\", the only kind of tool "
                                           "that is supported, got ",
                                           Show(json(tool))));
    }
    if (!legacy && (!tool.contains("function") || !tool["function"].is_object())) {
      return InvalidField(
          at, absl::StrCat(at, ".function must be an object with a name, got ", Show(json(tool))));
    }
    ASSIGN_OR_RETURN(ToolFunction function,
                     ReadFunction(legacy ? tool : tool["function"],
                                  absl::StrCat(at, legacy ? "." : ".function.")));
    if (!names.insert(function.name).second) {
      return InvalidField(at, absl::StrCat(field, " has two functions named \"", function.name,
                                           "\"; give each a name of its own"));
    }
    functions.push_back(std::move(function));
  }
  return functions;
}

// Keeps the functions of these names, in their own order.
absl::Status Restrict(const std::vector<std::string>& names, const char* field, ToolUse* use) {
  std::vector<ToolFunction> kept;
  for (const std::string& name : names) {
    const auto found = std::find_if(use->functions.begin(), use->functions.end(),
                                    [&](const ToolFunction& f) { return f.name == name; });
    if (found == use->functions.end()) {
      return InvalidField(field, absl::StrCat(field, " names the function ", Show(json(name)),
                                              ", which is not among the tools"));
    }
    kept.push_back(*found);
  }
  use->restricted = kept.size() < use->functions.size();
  use->functions = std::move(kept);
  return absl::OkStatus();
}

// The name in {"type": "function", "function": {"name": ...}}, or empty.
std::string NamedFunction(const json& choice) {
  if (!choice.is_object() || choice.value("type", json()) != json("function")) return "";
  const auto function = choice.find("function");
  if (function == choice.end() || !function->is_object()) return "";
  const json name = function->value("name", json());
  return name.is_string() ? name.get<std::string>() : "";
}

// {"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": [...]}}.
absl::Status ReadAllowedTools(const json& allowed, ToolUse* use) {
  constexpr char kMust[] =
      "tool_choice.allowed_tools must be {\"mode\": \"auto\" or \"required\", \"tools\": "
      "[{\"type\": "
      "\"function\", \"function\": {\"name\": ...}}, ...]}, got ";
  const auto refuse = [&] { return InvalidField("tool_choice", kMust + Show(allowed)); };
  if (!allowed.is_object() || !allowed.contains("tools") || !allowed["tools"].is_array() ||
      allowed["tools"].empty()) {
    return refuse();
  }
  const json mode = allowed.value("mode", json("auto"));
  if (mode != json("auto") && mode != json("required")) return refuse();
  use->choice = mode == json("auto") ? ToolUse::Choice::kAuto : ToolUse::Choice::kRequired;
  std::set<std::string> seen;
  std::vector<std::string> names;
  for (const json& tool : allowed["tools"]) {
    const std::string name = NamedFunction(tool);
    if (name.empty()) return refuse();
    if (seen.insert(name).second) names.push_back(name);
  }
  return Restrict(names, "tool_choice", use);
}

absl::Status ReadChoice(const json& choice, ToolUse* use) {
  if (choice == json("none")) {
    use->choice = ToolUse::Choice::kNone;
  } else if (choice == json("auto")) {
    use->choice = ToolUse::Choice::kAuto;
  } else if (choice == json("required")) {
    use->choice = ToolUse::Choice::kRequired;
  } else if (choice.is_object() && choice.value("type", json()) == json("allowed_tools")) {
    return ReadAllowedTools(choice.value("allowed_tools", json()), use);
  } else {
    const std::string name = NamedFunction(choice);
    if (name.empty()) {
      return InvalidField("tool_choice",
                          absl::StrCat("tool_choice must be \"none\", \"auto\", \"required\", "
                                       "{\"type\": \"function\", \"function\": {\"name\": ...}} or "
                                       "{\"type\": \"allowed_tools\", ...}, got ",
                                       Show(choice)));
    }
    use->choice = ToolUse::Choice::kNamed;
    return Restrict({name}, "tool_choice", use);
  }
  return absl::OkStatus();
}

absl::Status ReadFunctionCall(const json& choice, ToolUse* use) {
  if (choice == json("none") || choice == json("auto")) return ReadChoice(choice, use);
  const json name = choice.is_object() ? choice.value("name", json()) : json();
  if (!name.is_string()) {
    return InvalidField("function_call", absl::StrCat("function_call must be \"none\", \"auto\" or "
                                                      "{\"name\": ...}, got ",
                                                      Show(choice)));
  }
  use->choice = ToolUse::Choice::kNamed;
  return Restrict({name.get<std::string>()}, "function_call", use);
}

// What a call of `function` looks like; `schema` is that of its arguments.
ordered_json CallTag(const ToolFunction& function, ordered_json schema) {
  return {{"type", "tag"},
          {"begin",
           absl::StrCat(kToolCallBegin, "\n{\"name\": \"", function.name, "\", \"arguments\": ")},
          {"content", {{"type", "json_schema"}, {"json_schema", std::move(schema)}}},
          {"end", absl::StrCat("}\n", kToolCallEnd)}};
}

ordered_json CallTags(const ToolUse& tools, bool all_strict) {
  ordered_json tags = ordered_json::array();
  for (const ToolFunction& function : tools.functions) {
    const bool strict = all_strict || function.strict;
    tags.push_back(CallTag(function, strict ? ordered_json::parse(function.parameters_json)
                                            : ordered_json{{"type", "object"}}));
  }
  return tags;
}

bool IsSingle(const ToolUse& tools) {
  return !tools.parallel || tools.choice == ToolUse::Choice::kNamed;
}

// One call or several, and nothing else.
ordered_json OnlyCalls(const ToolUse& tools, bool all_strict) {
  return {{"type", "tags_with_separator"},
          {"tags", CallTags(tools, all_strict)},
          {"separator", "\n"},
          {"at_least_one", true},
          {"stop_after_first", IsSingle(tools)}};
}

StructuredOutput StructuralTag(ordered_json format) {
  const ordered_json tag = {{"type", "structural_tag"}, {"format", std::move(format)}};
  StructuredOutput shape;
  shape.kind = StructuredOutput::Kind::kStructuralTag;
  shape.text = tag.dump();
  shape.field = "tools";
  return shape;
}

bool AnyStrict(const ToolUse& tools) {
  return std::any_of(tools.functions.begin(), tools.functions.end(),
                     [](const ToolFunction& function) { return function.strict; });
}

}  // namespace

absl::StatusOr<ToolUse> ReadTools(const json& body, absl::string_view text,
                                  std::vector<std::string>* tools_json) {
  const FieldReader fields(body);
  ToolUse use;
  RETURN_IF_ERROR(fields.Read("parallel_tool_calls", &use.parallel));
  use.legacy = fields.Find("tools") == nullptr && fields.Find("functions") != nullptr;
  const char* const field = use.legacy ? "functions" : "tools";
  const json* const list = fields.Find(field);
  if (list != nullptr && !list->is_array()) return fields.Wrong(field, "a list of functions");
  const json* const choice = fields.Find(use.legacy ? "function_call" : "tool_choice");
  if (list == nullptr || list->empty()) {
    // Without tools there is nothing to choose from, but nothing is wrong with saying so.
    if (choice == nullptr || *choice == json("none") || *choice == json("auto")) return ToolUse();
    return InvalidField("tool_choice", absl::StrCat("tool_choice ", Show(*choice),
                                                    " needs tools; give the functions in tools"));
  }
  ASSIGN_OR_RETURN(std::vector<std::string> shown, OrderedElements(text, field));
  ASSIGN_OR_RETURN(use.functions, ReadFunctions(shown, field, use.legacy));
  use.choice = ToolUse::Choice::kAuto;
  if (choice != nullptr) {
    RETURN_IF_ERROR(use.legacy ? ReadFunctionCall(*choice, &use) : ReadChoice(*choice, &use));
  }
  if (use.choice == ToolUse::Choice::kNone) return ToolUse();
  if (use.legacy) {
    use.parallel = false;
    for (std::string& function : shown) {
      function = absl::StrCat("{\"type\":\"function\",\"function\":", function, "}");
    }
  }
  *tools_json = std::move(shown);
  return use;
}

absl::StatusOr<std::optional<StructuredOutput>> ConstrainToTools(
    const ToolUse& tools, const std::optional<StructuredOutput>& format) {
  if (tools.choice == ToolUse::Choice::kNone) return format;
  if (tools.choice != ToolUse::Choice::kAuto) {
    // There will be no text for `format` to shape.
    return StructuralTag(OnlyCalls(tools, /*all_strict=*/true));
  }
  if (format.has_value()) {
    using Kind = StructuredOutput::Kind;
    if (format->kind != Kind::kJsonObject && format->kind != Kind::kJsonSchema) {
      return InvalidField("tools",
                          "tools can be combined with response_format json_object or json_schema, "
                          "but with no other shape of the answer; leave one of them out");
    }
    const ordered_json schema = format->kind == Kind::kJsonObject
                                    ? ordered_json{{"type", "object"}}
                                    : ordered_json::parse(format->text);
    const ordered_json text = {{"type", "json_schema"}, {"json_schema", schema}};
    StructuredOutput shape = StructuralTag(
        {{"type", "or"},
         {"elements", ordered_json::array({text, OnlyCalls(tools, /*all_strict=*/false)})}});
    shape.compact_json = format->compact_json;
    return shape;
  }
  if (!AnyStrict(tools) && !tools.restricted) return std::nullopt;
  return StructuralTag({{"type", "triggered_tags"},
                        {"triggers", ordered_json::array({std::string(kToolCallBegin)})},
                        {"tags", CallTags(tools, /*all_strict=*/false)},
                        {"at_least_one", false},
                        {"stop_after_first", !tools.parallel}});
}

ToolCallParser::Options ParserOptions(const ToolUse& tools) {
  ToolCallParser::Options options;
  if (IsSingle(tools)) options.max_calls = 1;
  options.only_calls =
      tools.choice == ToolUse::Choice::kRequired || tools.choice == ToolUse::Choice::kNamed;
  return options;
}

std::string StopAfterCall(const ToolUse& tools) {
  const bool single = tools.choice == ToolUse::Choice::kAuto && !tools.parallel;
  return single ? std::string(kToolCallEnd) : std::string();
}

}  // namespace quartet::gateway::http
