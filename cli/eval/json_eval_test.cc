#include "cli/eval/json_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace quartet::cli::eval {
namespace {

using ::testing::HasSubstr;

constexpr char kLine[] =
    R"({"name": "pair", "schema": {"type": "object", "required": ["b", "a"]}, "prompt": "Give a and b."})";

EvalAnswer Answer(const std::string& text, bool is_cut = false) {
  EvalAnswer answer;
  answer.text = text;
  answer.is_cut = is_cut;
  answer.completion_tokens = 10;
  return answer;
}

TEST(ParseSchemaTasksTest, ReadsLinesAndKeepsTheSchemasText) {
  const auto tasks = ParseSchemaTasks(absl::StrCat(kLine, "\n\n", kLine, "\n"));
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_EQ(tasks->size(), 2u);
  EXPECT_EQ((*tasks)[0].name, "pair");
  EXPECT_EQ((*tasks)[0].schema_text, R"({"type":"object","required":["b","a"]})");
}

TEST(ParseSchemaTasksTest, NamesTheLineThatIsWrong) {
  for (const char* line :
       {"{", "[]", R"({"name": "x", "schema": {}})", R"({"name": 1, "schema": {}, "prompt": "p"})",
        R"({"name": "x", "schema": {"type": 1}, "prompt": "p"})",
        R"({"name": "x", "schema": {"unevaluatedItems": 1}, "prompt": "p"})"}) {
    const auto tasks = ParseSchemaTasks(absl::StrCat(kLine, "\n", line));
    EXPECT_FALSE(tasks.ok()) << line;
    EXPECT_THAT(std::string(tasks.status().message()), HasSubstr("line 2")) << line;
  }
  EXPECT_FALSE(ParseSchemaTasks("\n").ok());
  const std::string deep(100'000, '[');
  EXPECT_THAT(std::string(ParseSchemaTasks(deep).status().message()), HasSubstr("nested deeper"));
}

TEST(JudgeTest, TellsTheOutcomesApart) {
  const auto tasks = ParseSchemaTasks(kLine);
  const SchemaTask& task = tasks->front();
  EXPECT_EQ(Judge(task, Answer(R"({"a": 1, "b": 2})")).outcome, JsonOutcome::kValid);
  EXPECT_EQ(Judge(task, Answer(R"({"a": 1})")).outcome, JsonOutcome::kMisfit);
  EXPECT_THAT(Judge(task, Answer(R"({"a": 1})")).reason, HasSubstr("\"b\""));
  EXPECT_EQ(Judge(task, Answer("Sure! {}")).outcome, JsonOutcome::kNotJson);
  EXPECT_EQ(Judge(task, Answer(R"({"a": )", true)).outcome, JsonOutcome::kCut);
  // Whole although max_tokens was reached with the last brace.
  EXPECT_EQ(Judge(task, Answer(R"({"a": 1, "b": 2})", true)).outcome, JsonOutcome::kValid);
}

TEST(JsonReportTest, CountsBySchemaAndInAll) {
  JsonOptions options;
  options.repeats = 2;
  auto tasks = ParseSchemaTasks(absl::StrCat(kLine, "\n", kLine));
  (*tasks)[1].name = "other";
  std::vector<JsonCase> cases = {{0, JsonOutcome::kValid, "", "{}", 10},
                                 {0, JsonOutcome::kCut, "max_tokens ended it", "{", 20},
                                 {1, JsonOutcome::kMisfit, "the value does not fit 'x'", "{}", 30},
                                 {1, JsonOutcome::kRefused, "not this one", "", 0}};
  const Report report = MakeJsonReport(options, {"toy", 100, true}, *tasks, cases);
  EXPECT_EQ(report.table,
            "schema  answers  valid  misfit  not JSON  length  refused  tokens\n"
            "------  -------  -----  ------  --------  ------  -------  ------\n"
            "pair          2      1       0         0       1        0      15\n"
            "other         2      0       1         0       0        1      15\n"
            "all           4      1       1         0       1        1      15\n"
            "other: the value does not fit 'x'\n"
            "other: not this one\n");
  const auto json = nlohmann::json::parse(report.json);
  EXPECT_EQ(json["schemas"][0]["valid"], 1);
  EXPECT_EQ(json["cases"][3]["outcome"], "refused");
  EXPECT_THAT(report.method, HasSubstr("constrained to the schema"));
}

}  // namespace
}  // namespace quartet::cli::eval
