#include "cli/eval/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace quartet::cli::eval {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct KeywordCase {
  const char* schema;
  std::vector<const char*> fitting;
  std::vector<const char*> others;
};

class KeywordTest : public ::testing::TestWithParam<KeywordCase> {};

TEST_P(KeywordTest, TakesWhatFitsAndNothingElse) {
  const auto schema = JsonSchema::Compile(json::parse(GetParam().schema));
  ASSERT_TRUE(schema.ok()) << schema.status();
  for (const char* value : GetParam().fitting) {
    EXPECT_TRUE(schema->Validate(json::parse(value)).ok())
        << value << ": " << schema->Validate(json::parse(value));
  }
  for (const char* value : GetParam().others) {
    EXPECT_FALSE(schema->Validate(json::parse(value)).ok()) << value;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, KeywordTest,
    ::testing::Values(
        KeywordCase{R"({"type": "integer"})", {"1", "1.0", "-3"}, {"1.5", "\"1\"", "true", "null"}},
        KeywordCase{R"({"type": ["string", "null"]})", {"\"x\"", "null"}, {"1", "[]"}},
        KeywordCase{
            R"({"enum": [1, "a", null, {"b": []}]})", {"1", "1.0", "{\"b\":[]}"}, {"2", "\"A\""}},
        KeywordCase{R"({"const": [1, 2]})", {"[1,2]"}, {"[2,1]", "1"}},
        KeywordCase{
            R"({"minimum": 1, "exclusiveMaximum": 3})", {"1", "2.9", "\"x\""}, {"0.9", "3"}},
        KeywordCase{R"({"exclusiveMinimum": 0, "maximum": 2})", {"0.1", "2"}, {"0", "2.1"}},
        KeywordCase{R"({"multipleOf": 0.1})", {"0.3", "4", "-0.7"}, {"0.35"}},
        KeywordCase{R"({"minLength": 2, "maxLength": 3})",
                    {"\"äö\"", "\"日本語\"", "7"},
                    {"\"ä\"", "\"abcd\""}},
        KeywordCase{
            R"({"pattern": "^[a-c]+$"})", {"\"abc\"", "1"}, {"\"abd\"", "\"\"", "\"abc\\n\""}},
        KeywordCase{R"({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2})",
                    {"[1]", "[1,2]"},
                    {"[]", "[1,2,3]", "[\"a\"]"}},
        KeywordCase{R"({"prefixItems": [{"type": "string"}], "items": false})",
                    {"[]", "[\"a\"]"},
                    {"[1]", "[\"a\",1]"}},
        KeywordCase{R"({"contains": {"const": 1}, "maxContains": 2})",
                    {"[1]", "[0,1,1]"},
                    {"[]", "[1,1,1]"}},
        KeywordCase{R"({"contains": {"const": 1}, "minContains": 0})", {"[]", "[2]"}, {}},
        KeywordCase{R"({"uniqueItems": true})",
                    {"[1,2]", "[[1],[2]]", "[1,true]"},
                    {"[1,2,1.0]", "[{},{}]"}},
        KeywordCase{
            R"({"properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false})",
            {"{\"a\":\"x\"}", "[]"},
            {"{}", "{\"a\":1}", "{\"a\":\"x\",\"b\":1}"}},
        KeywordCase{
            R"({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": {"type": "null"}})",
            {"{\"x1\":1,\"y\":null}"},
            {"{\"x1\":null}", "{\"y\":1}"}},
        KeywordCase{
            R"({"propertyNames": {"maxLength": 2}, "minProperties": 1, "maxProperties": 2})",
            {"{\"ab\":1}"},
            {"{}", "{\"abc\":1}", "{\"a\":1,\"b\":1,\"c\":1}"}},
        KeywordCase{R"({"dependentRequired": {"a": ["b"]}})",
                    {"{\"a\":1,\"b\":1}", "{\"b\":1}"},
                    {"{\"a\":1}"}},
        KeywordCase{R"({"dependentSchemas": {"a": {"required": ["b"]}}})", {"{}"}, {"{\"a\":1}"}},
        KeywordCase{R"({"allOf": [{"minimum": 1}, {"maximum": 2}]})", {"1", "2"}, {"0", "3"}},
        KeywordCase{R"({"anyOf": [{"type": "string"}, {"minimum": 5}]})", {"\"x\"", "5"}, {"4"}},
        KeywordCase{R"({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]})", {"2", "3"}, {"6", "5"}},
        KeywordCase{R"({"not": {"type": "null"}})", {"1"}, {"null"}},
        KeywordCase{
            R"({"if": {"minimum": 10}, "then": {"multipleOf": 10}, "else": {"maximum": 5}})",
            {"20", "5"},
            {"15", "6"}},
        KeywordCase{
            R"({"$defs": {"tree": {"properties": {"l": {"$ref": "#/$defs/tree"}}, "required": ["v"]}},
                        "$ref": "#/$defs/tree"})",
            {"{\"v\":1}", "{\"v\":1,\"l\":{\"v\":2}}"},
            {"{}", "{\"v\":1,\"l\":{}}"}},
        KeywordCase{
            R"({"properties": {"a~b": {"type": "null"}, "c": {"$ref": "#/properties/a~0b"}}})",
            {"{\"c\":null}"},
            {"{\"c\":1}"}},
        KeywordCase{"true", {"1", "{}"}, {}}, KeywordCase{"false", {}, {"1"}},
        KeywordCase{R"({"format": "date", "title": "x"})", {"\"no date\""}, {}}));

TEST(JsonSchemaTest, AMisfitNamesPlaceAndKeyword) {
  const auto schema = JsonSchema::Compile(
      json::parse(R"({"properties": {"a": {"items": {"type": "integer"}}}, "required": ["b"]})"));
  EXPECT_THAT(std::string(schema->Validate(json::parse(R"({"b": 1, "a": [1, "x"]})")).message()),
              HasSubstr("/a/1 does not fit 'type"));
  EXPECT_THAT(std::string(schema->Validate(json::parse("{}")).message()),
              HasSubstr("required: \"b\""));
}

TEST(JsonSchemaTest, WhatItCantCheckIsNamed) {
  for (const auto& [schema, named] : std::vector<std::pair<const char*, const char*>>{
           {R"({"properties": {"a": {"unevaluatedItems": false}}})",
            "#/properties/a/unevaluatedItems"},
           {R"({"$ref": "https://example.org/x"})", "another document"},
           {R"({"$ref": "#name"})", "$anchor"},
           {R"({"items": {"$id": "x"}})", "#/items/$id"}}) {
    const absl::Status status = JsonSchema::Compile(json::parse(schema)).status();
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(named));
  }
}

TEST(JsonSchemaTest, WhatHasNoSenseIsNamed) {
  for (const char* schema :
       {R"({"pattern": "("})", R"({"type": 1})", R"({"type": []})", R"({"minLength": -1})",
        R"({"allOf": []})", R"({"required": [1]})", R"({"multipleOf": 0})",
        R"({"$ref": "#/nowhere"})", R"({"$ref": 1})", R"({"properties": []})", R"({"items": 3})",
        R"({"enum": 1})", R"({"uniqueItems": 1})", R"({"$ref": "#/~2"})",
        R"({"dependentRequired": {"a": 1}})", "[]", "1"}) {
    const absl::Status status = JsonSchema::Compile(json::parse(schema)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << schema << ": " << status;
  }
}

TEST(JsonSchemaTest, AReferenceInCirclesEnds) {
  const auto schema = JsonSchema::Compile(json::parse(R"({"$ref": "#"})"));
  ASSERT_TRUE(schema.ok());
  EXPECT_THAT(std::string(schema->Validate(json(1)).message()), HasSubstr("without end"));
}

}  // namespace
}  // namespace quartet::cli::eval
