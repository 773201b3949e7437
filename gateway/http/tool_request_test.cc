#include "gateway/http/tool_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/http/json_body.h"
#include "gateway/http/openai_request.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Choice = ToolUse::Choice;

constexpr char kTools[] = R"("tools": [
  {"type": "function", "function": {"name": "get_weather", "description": "d", "strict": true,
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}, "city": {}}}}},
  {"type": "function", "function": {"name": "now"}}])";

absl::StatusOr<ToolUse> Read(const std::string& fields, std::vector<std::string>* shown = nullptr) {
  const std::string text = absl::StrCat("{", fields, "}");
  std::vector<std::string> unused;
  return ReadTools(*ParseJsonObject(text), text, shown == nullptr ? &unused : shown);
}

std::optional<StructuredOutput> Constrain(const std::string& fields,
                                          std::optional<StructuredOutput> format = std::nullopt) {
  const auto tools = Read(fields);
  EXPECT_TRUE(tools.ok()) << tools.status();
  const auto shape = ConstrainToTools(*tools, format);
  EXPECT_TRUE(shape.ok()) << shape.status();
  return *shape;
}

json FormatOf(const std::optional<StructuredOutput>& shape) {
  EXPECT_TRUE(shape.has_value());
  EXPECT_EQ(shape->kind, StructuredOutput::Kind::kStructuralTag);
  const json tag = json::parse(shape->text);
  EXPECT_EQ(tag["type"], "structural_tag");
  return tag["format"];
}

TEST(ToolRequestTest, WithoutToolsThereIsNothingToRead) {
  for (const char* fields : {"", R"("tools": [])", R"("tools": null, "tool_choice": "auto")",
                             R"("tool_choice": "none", "parallel_tool_calls": false)"}) {
    const auto tools = Read(fields);
    ASSERT_TRUE(tools.ok()) << tools.status();
    EXPECT_EQ(tools->choice, Choice::kNone);
    EXPECT_EQ(Constrain(fields), std::nullopt);
  }
}

TEST(ToolRequestTest, ToolsAreReadAndShownInTheirOrder) {
  std::vector<std::string> shown;
  const auto tools = Read(kTools, &shown);
  ASSERT_TRUE(tools.ok()) << tools.status();
  EXPECT_EQ(tools->choice, Choice::kAuto);
  EXPECT_TRUE(tools->parallel);
  ASSERT_EQ(tools->functions.size(), 2u);
  EXPECT_EQ(tools->functions[0].name, "get_weather");
  EXPECT_TRUE(tools->functions[0].strict);
  EXPECT_EQ(tools->functions[0].parameters_json,
            R"({"type":"object","properties":{"zone":{"type":"string"},"city":{}}})");
  EXPECT_FALSE(tools->functions[1].strict);
  EXPECT_THAT(tools->functions[1].parameters_json, HasSubstr("\"additionalProperties\":false"));
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[1], R"({"type":"function","function":{"name":"now"}})");
}

TEST(ToolRequestTest, NoneShowsTheModelNoTools) {
  std::vector<std::string> shown;
  EXPECT_EQ(Read(absl::StrCat(kTools, R"(, "tool_choice": "none")"), &shown)->choice,
            Choice::kNone);
  EXPECT_THAT(shown, IsEmpty());
}

TEST(ToolRequestTest, RequiredMeansCallsAndNothingElse) {
  const json format = FormatOf(Constrain(absl::StrCat(kTools, R"(, "tool_choice": "required")")));
  EXPECT_EQ(format["type"], "tags_with_separator");
  EXPECT_EQ(format["at_least_one"], true);
  EXPECT_EQ(format["stop_after_first"], false);
  ASSERT_EQ(format["tags"].size(), 2u);
  const json& tag = format["tags"][0];
  EXPECT_EQ(tag["begin"], "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": ");
  EXPECT_EQ(tag["end"], "}\n</tool_call>");
  EXPECT_EQ(tag["content"]["json_schema"]["properties"]["zone"]["type"], "string");
  const json single = FormatOf(Constrain(
      absl::StrCat(kTools, R"(, "tool_choice": "required", "parallel_tool_calls": false)")));
  EXPECT_EQ(single["stop_after_first"], true);
}

TEST(ToolRequestTest, ANamedFunctionIsCalledOnce) {
  const json format = FormatOf(Constrain(absl::StrCat(
      kTools, R"(, "tool_choice": {"type": "function", "function": {"name": "now"}})")));
  EXPECT_EQ(format["stop_after_first"], true);
  ASSERT_EQ(format["tags"].size(), 1u);
  EXPECT_THAT(format["tags"][0]["begin"].get<std::string>(), HasSubstr("\"now\""));
}

TEST(ToolRequestTest, StrictToolsConstrainOnlyTheCalls) {
  const json format = FormatOf(Constrain(kTools));
  EXPECT_EQ(format["type"], "triggered_tags");
  EXPECT_EQ(format["triggers"], json({"<tool_call>"}));
  EXPECT_EQ(format["tags"][0]["content"]["json_schema"]["properties"]["zone"]["type"], "string");
  EXPECT_EQ(format["tags"][1]["content"]["json_schema"], json({{"type", "object"}}));
  EXPECT_EQ(Constrain(R"("tools": [{"type": "function", "function": {"name": "f"}}])"),
            std::nullopt);
}

TEST(ToolRequestTest, AllowedToolsNarrowTheChoice) {
  const std::string allowed = absl::StrCat(
      kTools, R"(, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "MODE",
      "tools": [{"type": "function", "function": {"name": "now"}}]}})");
  const auto with = [&](const std::string& mode) {
    std::string fields = allowed;
    return fields.replace(fields.find("MODE"), 4, mode);
  };
  EXPECT_EQ(FormatOf(Constrain(with("auto")))["type"], "triggered_tags");
  EXPECT_EQ(FormatOf(Constrain(with("auto")))["tags"].size(), 1u);
  EXPECT_EQ(FormatOf(Constrain(with("required")))["type"], "tags_with_separator");
  EXPECT_FALSE(Read(with("never")).ok());
}

TEST(ToolRequestTest, TextMayHaveAShapeBesideCalls) {
  StructuredOutput format;
  format.kind = StructuredOutput::Kind::kJsonSchema;
  format.text = R"({"type":"array"})";
  format.compact_json = true;
  const auto shape = Constrain(kTools, format);
  EXPECT_TRUE(shape->compact_json);
  const json either = FormatOf(shape);
  EXPECT_EQ(either["type"], "or");
  EXPECT_EQ(either["elements"][0]["json_schema"]["type"], "array");
  EXPECT_EQ(either["elements"][1]["type"], "tags_with_separator");
  EXPECT_EQ(
      FormatOf(Constrain(absl::StrCat(kTools, R"(, "tool_choice": "required")"), format))["type"],
      "tags_with_separator");
  EXPECT_EQ(Constrain("", format)->kind, StructuredOutput::Kind::kJsonSchema);
  format.kind = StructuredOutput::Kind::kRegex;
  const auto refused = ConstrainToTools(*Read(kTools), format);
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
}

TEST(ToolRequestTest, TheOlderFormIsTheSameWithOneCall) {
  std::vector<std::string> shown;
  const auto tools = Read(
      R"("functions": [{"name": "f", "parameters": {"properties": {}}}], "function_call": {"name": "f"})",
      &shown);
  ASSERT_TRUE(tools.ok()) << tools.status();
  EXPECT_TRUE(tools->legacy);
  EXPECT_FALSE(tools->parallel);
  EXPECT_EQ(tools->choice, Choice::kNamed);
  EXPECT_EQ(tools->functions[0].parameters_json, R"({"properties":{},"type":"object"})");
  EXPECT_EQ(shown[0],
            R"({"type":"function","function":{"name":"f","parameters":{"properties":{}}}})");
  EXPECT_EQ(StopAfterCall(*Read(R"("functions": [{"name": "f"}])")), "</tool_call>");
  EXPECT_EQ(StopAfterCall(*tools), "") << "the shape of the answer ends it";
}

TEST(ToolRequestTest, RefusesWhatItDoesNotUnderstand) {
  const struct {
    std::string fields;
    const char* param;
    const char* message;
  } cases[] = {
      {R"("tools": {})", "tools", "a list of functions, got {}"},
      {R"("tools": [3])", "tools[0]", "must be an object, got 3"},
      {R"("tools": [{"type": "web_search"}])", "tools[0]", "must be \"function\""},
      {R"("tools": [{"type": "function"}])", "tools[0]", ".function must be an object"},
      {R"("tools": [{"type": "function", "function": {}}])", "tools[0].function.name", "got null"},
      {R"("tools": [{"type": "function", "function": {"name": "a b"}}])", "tools[0].function.name",
       "got \"a b\""},
      {R"("tools": [{"type": "function", "function": {"name": 7}}])", "tools[0].function.name",
       "must be a string, got 7"},
      {R"("tools": [{"type": "function", "function": {"name": "f", "parameters": []}}])",
       "tools[0].function.parameters", "a JSON Schema whose type is \"object\""},
      {R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}])",
       "tools[0].function.parameters", "a JSON Schema whose type is \"object\""},
      {R"("tools": [{"type": "function", "function": {"name": "f", "strict": 1}}])",
       "tools[0].function.strict", "true or false, got 1"},
      {R"("tools": [{"type": "function", "function": {"name": "f"}},
                    {"type": "function", "function": {"name": "f"}}])",
       "tools[1]", "two functions named \"f\""},
      {R"("tool_choice": "required")", "tool_choice", "needs tools"},
      {absl::StrCat(kTools, R"(, "tool_choice": "always")"), "tool_choice", "got \"always\""},
      {absl::StrCat(kTools, R"(, "tool_choice": {"type": "function"})"), "tool_choice", "got {"},
      {absl::StrCat(kTools, R"(, "tool_choice": {"type": "function", "function": {"name": "g"}})"),
       "tool_choice", "the function \"g\", which is not among the tools"},
      {absl::StrCat(kTools, R"(, "tool_choice": {"type": "allowed_tools"})"), "tool_choice",
       "got null"},
      {absl::StrCat(kTools, R"(, "parallel_tool_calls": 2)"), "parallel_tool_calls", "got 2"},
      {R"("functions": [{"name": "f"}], "function_call": "f")", "function_call", "got \"f\""},
  };
  for (const auto& c : cases) {
    const auto tools = Read(c.fields);
    ASSERT_FALSE(tools.ok()) << c.fields;
    EXPECT_EQ(ErrorParam(tools.status()), c.param) << c.fields;
    EXPECT_THAT(std::string(tools.status().message()), HasSubstr(c.message));
  }
  std::string many;
  for (int i = 0; i < 129; ++i)
    absl::StrAppend(&many, i == 0 ? "" : ",", "{\"name\": \"f", i, "\"}");
  const auto tools = Read(absl::StrCat("\"functions\": [", many, "]"));
  EXPECT_THAT(std::string(tools.status().message()), HasSubstr("at most 128 elements, got 129"));
}

TEST(ToolRequestTest, AChatRequestCarriesTheConstraint) {
  const auto parsed = ParseChatCompletion(
      absl::StrCat(R"({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required",)",
                   kTools, "}"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tools.choice, Choice::kRequired);
  FormatOf(parsed->prompts[0].structured_output);
}

}  // namespace
}  // namespace quartet::gateway::http
