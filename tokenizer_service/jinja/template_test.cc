#include "tokenizer_service/jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/json_reader.h"

namespace quartet::tokenizer::jinja {
namespace {

using ::testing::HasSubstr;

// 2024-07-26 12:00 UTC; no zone is a day away at noon.
constexpr std::time_t kNow = 1'721'995'200;

absl::StatusOr<std::string> Render(absl::string_view source, absl::string_view variables = "{}",
                                   const Limits& limits = Limits()) {
  ASSIGN_OR_RETURN(const Template parsed, Template::Parse(source, limits));
  Heap heap(limits);
  ASSIGN_OR_RETURN(const Value values, ReadJson(variables, &heap));
  return parsed.Render(values.dict(), &heap, kNow);
}

std::string Rendered(absl::string_view source, absl::string_view variables = "{}") {
  const auto text = Render(source, variables);
  return text.ok() ? *text : absl::StrCat("FAILED: ", text.status().message());
}

std::string FailureOf(absl::string_view source, absl::string_view variables = "{}") {
  const auto text = Render(source, variables);
  EXPECT_FALSE(text.ok()) << source << " gives " << *text;
  return std::string(text.status().message());
}

TEST(TemplateTest, LinesOfBlocksLeaveNothingBehind) {
  EXPECT_EQ(Rendered("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(Rendered("a  {%- if true -%}  b  {%- endif -%}  c"), "abc");
  EXPECT_EQ(Rendered("  {{ 1 }}\n"), "  1");
  EXPECT_EQ(Rendered("  {%+ if true %}x{% endif %}"), "  x");
  EXPECT_EQ(Rendered("{% raw %}{{ x }}{% endraw %}{# no #}!"), "{{ x }}!");
}

TEST(TemplateTest, LoopsKnowWhereTheyAre) {
  EXPECT_EQ(Rendered("{% for x in l %}{{ loop.index }}/{{ loop.length }}{{ x }}"
                     "{{ ',' if not loop.last }}{% else %}none{% endfor %}",
                     R"({"l": ["a", "b"]})"),
            "1/2a,2/2b");
  EXPECT_EQ(Rendered("{% for x in l if x > 1 %}{{ x }}{% else %}none{% endfor %}", R"({"l":[1]})"),
            "none");
  EXPECT_EQ(Rendered("{% for x in range(9) %}{% if x == 1 %}{% continue %}{% endif %}"
                     "{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}"),
            "023");
}

TEST(TemplateTest, AssignmentsInsideALoopEndWithTheRound) {
  EXPECT_EQ(
      Rendered("{% set x = 1 %}{% for i in [2, 3] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}"),
      "231");
  EXPECT_EQ(Rendered("{% set ns = namespace(x=1) %}{% for i in [2, 3] %}"
                     "{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}"),
            "6");
  EXPECT_EQ(Rendered("{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}"), "A1");
}

TEST(TemplateTest, MacrosHaveDefaultsAndCallers) {
  EXPECT_EQ(Rendered("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}"
                     "{% call m(1) %}x{% endcall %}{% call m(1, b=3) %}y{% endcall %}"),
            "12x13y");
  EXPECT_EQ(Rendered("{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}"
                     "{{ m(3) }}"),
            "3210");
}

TEST(TemplateTest, ObjectsKeepTheOrderOfTheirKeysInJson) {
  const char* const tool = R"({"t": {"name": "f", "b": [1, 2.0, null], "a": "é\u0001"}})";
  EXPECT_EQ(Rendered("{{ t | tojson }}", tool),
            "{\"name\": \"f\", \"b\": [1, 2.0, null], \"a\": \"é\\u0001\"}");
  EXPECT_EQ(Rendered("{{ t.b | tojson(indent=2) }}", tool), "[\n  1,\n  2.0,\n  null\n]");
  EXPECT_EQ(Rendered("{{ t.a | tojson(ensure_ascii=true) }}", tool), "\"\\u00e9\\u0001\"");
}

TEST(TemplateTest, TellsTheTimeItIsGiven) {
  EXPECT_EQ(Rendered("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
}

TEST(TemplateTest, ErrorsNameTheLine) {
  EXPECT_EQ(FailureOf("a\n\n{{ x.y }}"), "line 3: 'x' is undefined");
  EXPECT_EQ(FailureOf("\n{{ raise_exception('roles!') }}"),
            "line 2: the template refuses the conversation: roles!");
  EXPECT_EQ(FailureOf("{{ 'a' + 1 }}"), "line 1: '+' does not work on str and int");
  EXPECT_EQ(FailureOf("{{ 5 | join }}"),
            "line 1: the filter 'join': a value of type int can't be iterated over");
  EXPECT_EQ(FailureOf("{% if true %}\n{{ 1 }}"),
            "line 2: expected {% endif %}, found the end of the template");
  EXPECT_EQ(FailureOf("{{ [].append(1) }}"), "line 1: 'append' is not supported in chat templates");
}

TEST(TemplateTest, NamesWhatItDoesNotSupport) {
  EXPECT_THAT(FailureOf("\n{% include 'x' %}"),
              HasSubstr("line 2: the tag {% include %} is not supported"));
  EXPECT_THAT(FailureOf("{{ x | rot13 }}"), HasSubstr("line 1: the filter 'rot13'"));
  EXPECT_THAT(FailureOf("{{ x is round }}"), HasSubstr("line 1: the test 'round'"));
  EXPECT_THAT(FailureOf("{% for x in y recursive %}{% endfor %}"), HasSubstr("recursive"));
  // As in Jinja, what an `if` keeps from being reached is no error.
  EXPECT_EQ(Rendered("{% if false %}{{ x | rot13 }}{% endif %}ok"), "ok");
}

TEST(TemplateTest, ValuesCannotBeChanged) {
  for (const char* const source :
       {"{{ d.update({'a': 1}) }}", "{{ d.pop('a') }}", "{{ l.extend([1]) }}", "{% set d.a = 1 %}",
        "{{ d.__class__.x }}", "{{ d.get.__globals__.x }}"}) {
    EXPECT_FALSE(Render(source, R"({"d": {"a": 0}, "l": []})").ok()) << source;
  }
}

class LimitsTest : public testing::TestWithParam<const char*> {};

TEST_P(LimitsTest, EndWhatWouldNotEnd) {
  const auto text = Render(GetParam());
  EXPECT_FALSE(text.ok()) << text->size();
  EXPECT_EQ(text.status().code(), absl::StatusCode::kResourceExhausted) << text.status();
  EXPECT_THAT(text.status().message(), HasSubstr("line 1: "));
}

INSTANTIATE_TEST_SUITE_P(
    Hostile, LimitsTest,
    testing::Values(
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{% for i in [1, 2] %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}",
        "{{ 'x' * 999999999 }}", "{{ [0] * 999999999 }}", "{{ 'x' * 9223372036854775807 }}",
        "{{ ('x' * 9999999) | replace('x', 'y' * 99999) }}",
        "{{ ('x' * 9999999) | indent(9223372036854775807) }}",
        "{{ ['a', 'b'] | join('x' * 60000000) | join('y') }}",
        // Texts in texts, so that printing doubles at every level.
        "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x | tojson }}",
        "{% set a = namespace(x=1) %}{% set b = namespace(x=1) %}{% for i in range(60) %}"
        "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}",
        "{% set x = 'a' * 1000000 %}{% set y = 'a' * 500000 + 'b' %}{% for i in range(90000) %}"
        "{{ y in x }}{{ x == x }}{{ x.rfind(y) }}{% endfor %}",
        "{% set x = 'x' * 9999999 %}{{ x.split('x') }}",
        "{% set x = ' x' * 4999999 %}{{ x.split() }}",
        "{% set x = '\\n' * 9999999 %}{{ x.splitlines() }}",
        "{% set x = 'x' * 9999999 %}{% for i in range(99) %}{% set n = x.count('x') %}{% endfor %}",
        "{% set x = 'x' * 9999999 %}{% for i in range(999) %}{% set n = x.isalpha() %}"
        "{% endfor %}",
        "{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}"));

TEST(LimitsTest, HoldForTheSyntaxToo) {
  Limits limits;
  limits.max_template_bytes = 1 << 22;
  const auto nested = [](absl::string_view open, absl::string_view close) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) absl::StrAppend(&text, open);
    for (int i = 0; i < 100'000; ++i) absl::StrAppend(&text, close);
    return text;
  };
  for (const std::string& source : std::initializer_list<std::string>{
           "{{ " + nested("(", ")") + " }}", "{{ " + nested("[", "]") + " }}",
           "{{ " + nested("not ", "") + "1 }}", "{{ " + nested("-", "") + "1 }}",
           "{{ 1" + nested("+1", "") + " }}", "{{ x" + nested(".x", "") + " }}",
           "{{ x" + nested("|upper", "") + " }}", "{{ 1" + nested(" if 1 else 1", "") + " }}",
           "{{ x" + nested("()", "") + " }}", "{{ x" + nested("[0]", "") + " }}",
           nested("{% if 1 %}", "{% endif %}"), nested("{% for x in y %}", "{% endfor %}"),
           "{% set " + nested("(", ")") + " = 1 %}", "{{ 1" + nested(" is defined", "") + " }}"}) {
    const auto parsed = Template::Parse(source, limits);
    EXPECT_FALSE(parsed.ok()) << source.substr(0, 40);
  }
  EXPECT_THAT(Template::Parse(std::string(2 << 20, 'x')).status().message(),
              HasSubstr("2097152 bytes; at most 1048576"));
}

TEST(LimitsTest, NamespacesInsideThemselvesAreNoLeak) {
  EXPECT_EQ(Rendered("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns.x.x is defined }}"),
            "True");
  EXPECT_THAT(FailureOf("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}"),
              HasSubstr("can't be printed"));
}

}  // namespace
}  // namespace quartet::tokenizer::jinja
