// One case a keyword: what it lets through, what it keeps out, or how it is refused.
#include "worker/grammar/json_schema_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "worker/grammar/testing/text_grammar.h"

namespace quartet::grammar {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* schema;
  std::vector<const char*> fitting;
  std::vector<const char*> others;
};

class HonouredKeyword : public testing::TestWithParam<Case> {};

TEST_P(HonouredKeyword, LetsThroughWhatFitsAndNothingElse) {
  const Compiled grammar = CompileFormat(OutputFormat::Kind::kJsonSchema, GetParam().schema);
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  for (const char* text : GetParam().fitting) EXPECT_TRUE(Fits(**grammar, text)) << text;
  for (const char* text : GetParam().others) EXPECT_FALSE(Fits(**grammar, text)) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Keywords, HonouredKeyword,
    testing::Values(
        Case{"true",
             {"1", "null", "{\"a\": [1, \"x\"]}", "\"\\u00e9\""},
             {"", "nul", "\"\\ud800\""}},
        Case{R"({"type":"null"})", {"null"}, {"1", "nulls"}},
        Case{R"({"type":"boolean"})", {"true", "false"}, {"1"}},
        Case{R"({"type":"integer"})", {"0", "-7", "123"}, {"01", "1.5", "\"1\"", "-0"}},
        Case{R"({"type":"number"})", {"0", "-1.5", "1e5", "2.25E-3"}, {".5", "1.", "1e999"}},
        Case{R"({"type":["string","null"]})", {"\"\"", "null"}, {"1"}},
        Case{R"({"minimum":5})", {"5", "5.5", "123456"}, {"4", "4.999", "\"a\""}},
        Case{R"({"type":"integer","minimum":-3,"maximum":12})",
             {"-3", "-1", "0", "9", "10", "12"},
             {"-4", "13", "100", "-12"}},
        Case{R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101})",
             {"10", "99", "100"},
             {"9", "101", "1"}},
        Case{R"({"type":"number","minimum":-1.25,"maximum":0.5})",
             {"-1.25", "-1.2", "-0.1", "0", "0.5", "0.50", "0.49"},
             {"-1.26", "-1.3", "0.51", "1", "-2"}},
        Case{R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
             {"0.1", "0.999", "0.0001"},
             {"0", "0.0", "1", "1.0"}},
        Case{R"({"type":"number","minimum":0.25,"maximum":0.253})",
             {"0.25", "0.251", "0.253"},
             {"0.2", "0.2531", "0.26", "0"}},
        Case{R"({"type":"integer","multipleOf":7})", {"0", "-14", "49", "1001"}, {"1", "50"}},
        Case{R"({"multipleOf":5,"minimum":3,"maximum":21})", {"5", "20"}, {"0", "25", "6"}},
        Case{R"({"type":"string","minLength":2,"maxLength":3})",
             {"\"ab\"", "\"äöü\"", "\"😀😀\""},
             {"\"a\"", "\"abcd\"", "\"a\tb\"", "\"\""}},
        Case{R"({"type":"string","maxLength":2})",
             {"\"\"", "\"é\"", "\"\\n\""},
             {"\"abc\"", "\"\\u00e9\""}},
        Case{R"({"anyOf":[{"type":"string","maxLength":1},{"const":"abc"}]})",
             {"\"x\""},
             {"\"xy\""}},
        Case{R"({"pattern":"^a[^b]+(c|\\d{2})$"})",
             {"\"axc\"", "\"a\\\"12\"", "\"aé99\""},
             {"\"abc\"", "\"a\"c\"", "\"xaxc\"", "1"}},
        Case{R"({"format":"date"})",
             {"\"2024-02-28\"", "\"1999-12-31\""},
             {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\""}},
        Case{R"({"format":"uuid"})", {"\"0123abcd-0123-0123-0123-0123456789ab\""}, {"\"x\""}},
        Case{R"({"type":"string","format":"unknown"})", {"\"anything\""}, {"1"}},
        Case{R"({"const":{"a":[1,"x"],"é":null}})",
             {"{\"a\":[1,\"x\"],\"é\":null}", "{ \"a\": [1, \"x\"], \"é\": null }"},
             {"{\"a\":[1]}"}},
        Case{R"({"enum":["a",1,null,true]})", {"\"a\"", "1", "null", "true"}, {"\"b\"", "2"}},
        Case{R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"}},
        Case{R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
             {"[1]", "[1, 2, 3]"},
             {"[]", "[1,2,3,4]", "[\"a\"]"}},
        Case{R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
             {"[]", "[1]", "[1,\"a\"]"},
             {"[\"a\"]", "[1,\"a\",2]"}},
        Case{R"({"prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2})",
             {"[1,null]", "[1,null,null]"},
             {"[1]", "[1,1]"}},
        Case{R"({"prefixItems":[true,false]})", {"[]", "[1]"}, {"[1,2]"}},
        Case{R"({"type":"array","unevaluatedItems":false})", {"[]"}, {"[1]"}},
        Case{R"({"type":"array","uniqueItems":false})", {"[1,1]"}, {}},
        Case{R"({"type":"array","uniqueItems":true,"maxItems":1})", {"[]", "[1]"}, {"[1,1]"}},
        Case{R"({"properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["b"]})",
             {"{\"b\":\"x\"}", "{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\",\"c\":[1],\"ab\":2}"},
             {"{}", "{\"a\":1}", "{\"b\":\"x\",\"a\":\"y\"}", "{\"b\":\"x\",\"b\":1}",
              "{\"b\":\"x\",\"\\u0062\":1}"}},
        Case{R"({"properties":{"a":{}},"additionalProperties":false})",
             {"{}", "{\"a\":null}"},
             {"{\"b\":1}"}},
        Case{R"({"additionalProperties":{"type":"integer"}})",
             {"{}", "{\"x\":1}"},
             {"{\"x\":\"y\"}"}},
        Case{R"({"properties":{"a":{}},"unevaluatedProperties":false})",
             {"{\"a\":1}"},
             {"{\"b\":1}"}},
        Case{R"({"properties":{"a":false}})", {"{}", "{\"b\":1}"}, {"{\"a\":1}"}},
        Case{R"({"required":["x"]})", {"{\"x\":1}", "{\"x\":1,\"y\":2}"}, {"{}", "{\"y\":1}"}},
        Case{R"({"patternProperties":{"^x[0-9]$":{"type":"null"}}})",
             {"{}", "{\"x1\":null}"},
             {"{\"x1\":1}"}},
        Case{R"({"propertyNames":{"maxLength":2}})", {"{}", "{\"ab\":1}"}, {"{\"abc\":1}"}},
        Case{R"({"minProperties":1,"maxProperties":2,"properties":{"a":{},"b":{},"c":{}},)"
             R"("additionalProperties":false})",
             {"{\"a\":1}", "{\"b\":1,\"c\":2}"},
             {"{}", "{\"a\":1,\"b\":2,\"c\":3}"}},
        Case{R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", {"1", "null"}, {"\"a\""}},
        Case{R"({"properties":{"a":{"type":"integer"}},"anyOf":[{"required":["a"]},)"
             R"({"required":["b"]}]})",
             {"{\"a\":1}", "{\"b\":1}"},
             {"{}", "{\"a\":\"x\",\"b\":1}"}},
        Case{R"({"oneOf":[{"type":"integer"},{"type":"string"}]})", {"1", "\"a\""}, {"null"}},
        Case{R"({"oneOf":[{"properties":{"k":{"const":1}},"required":["k"],"type":"object"},)"
             R"({"properties":{"k":{"const":2}},"required":["k"],"type":"object"}]})",
             {"{\"k\":1}", "{\"k\":2}"},
             {"{\"k\":3}", "{}"}},
        Case{R"({"allOf":[{"minimum":3},{"maximum":5},{"type":"integer"}]})",
             {"3", "5"},
             {"2", "6"}},
        Case{R"({"allOf":[{"properties":{"a":{"minimum":3}},"required":["a"]},)"
             R"({"properties":{"a":{"type":"integer"}}}]})",
             {"{\"a\":3}"},
             {"{\"a\":2}", "{}", "{\"a\":3.5}"}},
        Case{R"({"$ref":"#/$defs/a%25b~1c","$defs":{"a%b/c":{"const":1}}})", {"1"}, {"2"}},
        Case{R"({"type":"object","properties":{"next":{"$ref":"#"}},"additionalProperties":false})",
             {"{}", "{\"next\":{\"next\":{}}}"},
             {"{\"next\":1}"}},
        Case{R"({"$ref":"#/$defs/n","maximum":4,"$defs":{"n":{"minimum":2}}})",
             {"2", "4"},
             {"5", "1"}},
        Case{R"({"title":"t","description":"d","default":1,"examples":[1],"$comment":"c",)"
             R"("$schema":"s","$id":"i","deprecated":true,"readOnly":true,"x-own":1,"const":1})",
             {"1"},
             {"2"}}));

struct Refusal {
  const char* schema;
  std::vector<const char*> words;
};

class RefusedSchema : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedSchema, NamesKeywordAndPath) {
  const auto ebnf = JsonSchemaTextToEbnf(GetParam().schema, {});
  ASSERT_EQ(ebnf.status().code(), absl::StatusCode::kInvalidArgument) << GetParam().schema;
  for (const char* word : GetParam().words) {
    EXPECT_THAT(std::string(ebnf.status().message()), HasSubstr(word));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keywords, RefusedSchema,
    testing::Values(
        Refusal{R"({"properties":{"a":{"not":{}}}})", {"\"not\"", "#/properties/a"}},
        Refusal{R"({"if":{}})", {"\"if\""}}, Refusal{R"({"then":{}})", {"\"then\""}},
        Refusal{R"({"else":{}})", {"\"else\""}},
        Refusal{R"({"items":{"contains":{}}})", {"\"contains\"", "#/items"}},
        Refusal{R"({"minContains":1})", {"\"minContains\""}},
        Refusal{R"({"maxContains":1})", {"\"maxContains\""}},
        Refusal{R"({"dependentRequired":{}})", {"\"dependentRequired\""}},
        Refusal{R"({"dependentSchemas":{}})", {"\"dependentSchemas\""}},
        Refusal{R"({"dependencies":{}})", {"\"dependencies\""}},
        Refusal{R"({"additionalItems":false})", {"\"additionalItems\""}},
        Refusal{R"({"$dynamicRef":"#a"})", {"\"$dynamicRef\""}},
        Refusal{R"({"properties":{"a":{"$id":"x"}}})", {"\"$id\"", "#/properties/a"}},
        Refusal{R"({"uniqueItems":true})", {"\"uniqueItems\""}},
        Refusal{R"({"items":[{}]})", {"\"items\"", "prefixItems"}},
        Refusal{R"({"multipleOf":0.1})", {"\"multipleOf\""}},
        Refusal{R"({"multipleOf":3,"minimum":0})", {"\"multipleOf\"", "one bound"}},
        Refusal{R"({"multipleOf":1000})", {"\"multipleOf\""}},
        Refusal{R"({"minimum":1e17})", {"\"minimum\"", "15 digits"}},
        Refusal{R"({"exclusiveMinimum":true})", {"\"exclusiveMinimum\"", "number"}},
        Refusal{R"({"pattern":"a\\b"})", {"\"pattern\"", "word boundary"}},
        Refusal{R"({"pattern":"a","maxLength":3})", {"\"maxLength\"", "pattern"}},
        Refusal{R"({"pattern":"a","format":"date"})", {"\"format\""}},
        Refusal{R"({"minLength":1000000})", {"\"minLength\""}},
        Refusal{R"({"minItems":-1})", {"\"minItems\"", "-1"}},
        Refusal{R"({"enum":["a"],"minLength":1})", {"\"enum\""}},
        Refusal{R"({"enum":[]})", {"no JSON value"}}, Refusal{"false", {"no JSON value"}},
        Refusal{R"({"type":"integer","minimum":2,"maximum":1})", {"no JSON value"}},
        Refusal{R"({"type":"text"})", {"\"text\"", "unknown"}},
        Refusal{R"({"oneOf":[{"minimum":1},{"maximum":3}]})", {"\"oneOf\"", "anyOf"}},
        Refusal{R"({"allOf":[{"additionalProperties":false},{"properties":{"a":{}}}]})", {"both"}},
        Refusal{R"({"patternProperties":{"a":{}},"properties":{"b":{}}})",
                {"\"patternProperties\""}},
        Refusal{R"({"propertyNames":{"pattern":"a"},"properties":{"b":{}}})",
                {"\"propertyNames\""}},
        Refusal{R"({"minProperties":2})", {"\"minProperties\""}},
        Refusal{R"({"$ref":"other.json"})", {"\"$ref\"", "other.json"}},
        Refusal{R"({"$ref":"#/$defs/x"})", {"$ref", "#/$defs/x"}},
        Refusal{R"({"$ref":"#"})", {"without end"}},
        Refusal{
            R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})",
            {"without end"}},
        Refusal{"7", {"object or a boolean"}}, Refusal{"{", {"not JSON"}}));

TEST(JsonSchemaGrammarTest, CompactJsonHasNoBlanks) {
  OutputFormat format;
  format.kind = OutputFormat::Kind::kJsonSchema;
  format.text = R"({"properties":{"a":{"type":"array"}}})";
  format.compact_json = true;
  const auto grammar = ByteBackend().Compile(format, {});
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Fits(**grammar, R"({"a":[1,2],"b":{}})"));
  EXPECT_FALSE(Fits(**grammar, R"({"a": [1]})"));
}

TEST(JsonSchemaGrammarTest, DeepAndLargeSchemasAreRefusedSoon) {
  std::string deep = "{}";
  for (int i = 0; i < 100; ++i) deep = R"({"items":)" + deep + "}";
  EXPECT_THAT(std::string(JsonSchemaTextToEbnf(deep, {}).status().message()), HasSubstr("deeper"));
  EXPECT_FALSE(JsonSchemaTextToEbnf(std::string(60'000, '['), {}).ok());
  // Each level names the next one twice, beside other keywords, so nothing can be shared.
  std::string wide = R"({"$ref":"#/$defs/d0","title":"t","$defs":{)";
  for (int i = 0; i < 25; ++i) {
    const std::string next =
        R"({"minProperties":0,"$ref":"#/$defs/d)" + std::to_string(i + 1) + R"("})";
    wide +=
        "\"d" + std::to_string(i) + R"(":{"properties":{"a":)" + next + R"(,"b":)" + next + "}},";
  }
  wide += R"("d25":{"type":"object"}}})";
  EXPECT_THAT(std::string(JsonSchemaTextToEbnf(wide, {}).status().message()),
              HasSubstr("simplify"));
}

}  // namespace
}  // namespace quartet::grammar
