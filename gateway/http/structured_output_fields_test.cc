// The forms in which a request says what shape its answer must have. What is wrong with them is in
// openai_request_test.
#include "gateway/http/structured_output_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "gateway/http/openai_request.h"

namespace quartet::gateway::http {
namespace {

using ::testing::ElementsAre;

absl::StatusOr<OpenAiRequest> Completion(const std::string& fields) {
  return ParseCompletion(absl::StrCat(R"({"prompt": "x", )", fields, "}"));
}

absl::StatusOr<OpenAiRequest> Chat(const std::string& fields) {
  return ParseChatCompletion(
      absl::StrCat(R"({"messages": [{"role": "user", "content": "x"}], )", fields, "}"));
}

TEST(StructuredOutputFieldsTest, ReadsTheShapeOfTheAnswerInEveryForm) {
  using Kind = StructuredOutput::Kind;
  const struct {
    const char* json;
    Kind kind;
    const char* text;
  } cases[] = {
      {R"("response_format": {"type": "json_object"})", Kind::kJsonObject, ""},
      {R"("response_format": {"type": "json_schema", "json_schema":
          {"name": "a", "strict": true, "schema": {"type": "object", "anyOf": []}}})",
       Kind::kJsonSchema, R"({"type":"object","anyOf":[]})"},
      {R"("response_format": {"type": "json_schema", "json_schema": {"name": "a"}})",
       Kind::kJsonObject, ""},
      {R"("response_format": {"type": "structural_tag", "format": {"b": 1, "a": 2}})",
       Kind::kStructuralTag, R"({"type":"structural_tag","format":{"b":1,"a":2}})"},
      {R"("structured_outputs": {"json": {"z": 1, "a": 2}})", Kind::kJsonSchema,
       R"({"z":1,"a":2})"},
      {R"("structured_outputs": {"json": "{\"z\": 1}"})", Kind::kJsonSchema, R"({"z": 1})"},
      {R"("structured_outputs": {"json": {"properties": {"a": {}}},
          "disable_additional_properties": true})",
       Kind::kJsonSchema, R"({"properties":{"a":{}},"additionalProperties":false})"},
      {R"("structured_outputs": {"regex": "a+"})", Kind::kRegex, "a+"},
      {R"("structured_outputs": {"grammar": "root ::= \"x\""})", Kind::kEbnfGrammar,
       "root ::= \"x\""},
      {R"("structured_outputs": {"json_object": true})", Kind::kJsonObject, ""},
      {R"("structured_outputs": {"structural_tag": {"type": "t"}})", Kind::kStructuralTag,
       R"({"type":"t"})"},
      {R"("guided_json": {"z": 1, "a": 2}, "guided_decoding_backend": "outlines:no-fallback")",
       Kind::kJsonSchema, R"({"z":1,"a":2})"},
      {R"("guided_regex": "a")", Kind::kRegex, "a"},
      {R"("guided_grammar": "g")", Kind::kEbnfGrammar, "g"},
      {R"("guided_json_object": true)", Kind::kJsonObject, ""},
  };
  for (const auto& c : cases) {
    for (const auto& parsed : {Completion(c.json), Chat(c.json)}) {
      ASSERT_TRUE(parsed.ok()) << c.json << parsed.status();
      const auto& output = parsed->prompts[0].structured_output;
      ASSERT_TRUE(output.has_value()) << c.json;
      EXPECT_EQ(output->kind, c.kind) << c.json;
      EXPECT_EQ(output->text, c.text) << c.json;
      EXPECT_FALSE(output->compact_json);
    }
  }
  const auto choice = Chat(R"("guided_choice": ["a", "b"])");
  EXPECT_THAT(choice->prompts[0].structured_output->choices, ElementsAre("a", "b"));
  for (const char* compact :
       {R"("structured_outputs": {"json_object": true, "disable_any_whitespace": true})",
        R"("guided_json": {}, "guided_whitespace_pattern": "")"}) {
    EXPECT_TRUE(Chat(compact)->prompts[0].structured_output->compact_json) << compact;
  }
  EXPECT_FALSE(Chat(R"("response_format": {"type": "text"})")->prompts[0].structured_output);
}

}  // namespace
}  // namespace quartet::gateway::http
