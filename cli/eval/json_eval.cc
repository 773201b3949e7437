#include "cli/eval/json_eval.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/eval/parallel_requests.h"
#include "cli/eval/svg_plot.h"
#include "cli/eval/text_table.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kOutcomeNames[kNumJsonOutcomes] = {"valid", "misfit", "not JSON", "length",
                                                         "refused"};
// In the order of the plot: good, cut, bad.
constexpr JsonOutcome kPlotOrder[] = {JsonOutcome::kValid, JsonOutcome::kCut, JsonOutcome::kMisfit,
                                      JsonOutcome::kNotJson, JsonOutcome::kRefused};

// What walks over schemas recurs.
constexpr int kMaxNesting = 200;

using Counts = std::array<int, kNumJsonOutcomes>;

absl::StatusOr<SchemaTask> ParseTask(const std::string& line) {
  bool is_too_deep = false;
  const auto watch = [&is_too_deep](int depth, ordered_json::parse_event_t, ordered_json&) {
    is_too_deep = is_too_deep || depth > kMaxNesting;
    return !is_too_deep;
  };
  const ordered_json task = ordered_json::parse(line, watch, false);
  if (is_too_deep) {
    return absl::InvalidArgumentError(absl::StrCat("is nested deeper than ", kMaxNesting));
  }
  const auto is_text = [&task](const char* key) {
    return task.contains(key) && task[key].is_string() && !task[key].get<std::string>().empty();
  };
  if (!task.is_object() || !is_text("name") || !is_text("prompt") || !task.contains("schema")) {
    return absl::InvalidArgumentError(
        R"(must be {"name": "...", "schema": {...}, "prompt": "..."})");
  }
  ASSIGN_OR_RETURN(JsonSchema schema, JsonSchema::Compile(json(task["schema"])));
  return SchemaTask{task["name"], task["prompt"], task["schema"].dump(), std::move(schema)};
}

Counts CountOutcomes(const std::vector<JsonCase>& cases, size_t task, bool all) {
  Counts counts{};
  for (const JsonCase& one : cases) {
    if (all || one.task == task) ++counts[static_cast<size_t>(one.outcome)];
  }
  return counts;
}

int Of(const Counts& counts, JsonOutcome outcome) { return counts[static_cast<size_t>(outcome)]; }

std::vector<std::string> Row(const std::string& name, const Counts& counts, double tokens) {
  int total = 0;
  for (int count : counts) total += count;
  std::vector<std::string> row = {name, absl::StrCat(total)};
  for (int count : counts) row.push_back(absl::StrCat(count));
  row.push_back(absl::StrFormat("%.0f", tokens));
  return row;
}

double MeanTokens(const std::vector<JsonCase>& cases, size_t task, bool all) {
  double sum = 0, total = 0;
  for (const JsonCase& one : cases) {
    if (!all && one.task != task) continue;
    sum += one.completion_tokens;
    total += 1;
  }
  return total > 0 ? sum / total : 0;
}

std::string ToJson(const JsonOptions& options, const ServedModel& model, const Report& report,
                   const std::vector<SchemaTask>& tasks, const std::vector<JsonCase>& cases) {
  ordered_json out = {{"eval", "json"},
                      {"model", model.name},
                      {"method", report.method},
                      {"constrained", options.constrained},
                      {"temperature", options.temperature},
                      {"seed", options.seed},
                      {"schemas", ordered_json::array()},
                      {"cases", ordered_json::array()}};
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Counts counts = CountOutcomes(cases, i, false);
    ordered_json entry = {{"name", tasks[i].name}};
    for (int k = 0; k < kNumJsonOutcomes; ++k)
      entry[kOutcomeNames[k]] = counts[static_cast<size_t>(k)];
    out["schemas"].push_back(std::move(entry));
  }
  for (const JsonCase& one : cases) {
    out["cases"].push_back({{"name", tasks[one.task].name},
                            {"outcome", kOutcomeNames[static_cast<int>(one.outcome)]},
                            {"reason", one.reason},
                            {"completion_tokens", one.completion_tokens},
                            {"answer", one.answer}});
  }
  return out.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::StatusOr<std::vector<SchemaTask>> ParseSchemaTasks(const std::string& text) {
  std::vector<SchemaTask> tasks;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<SchemaTask> task = ParseTask(std::string(line));
    if (!task.ok()) {
      return absl::Status(task.status().code(),
                          absl::StrCat("line ", number, ": ", task.status().message()));
    }
    tasks.push_back(*std::move(task));
  }
  if (tasks.empty()) return absl::InvalidArgumentError("there is no line with a schema");
  return tasks;
}

JsonCase Judge(const SchemaTask& task, const EvalAnswer& answer) {
  JsonCase result;
  result.answer = answer.text;
  result.completion_tokens = answer.completion_tokens;
  const json value = json::parse(answer.text, nullptr, false);
  if (value.is_discarded()) {
    result.outcome = answer.is_cut ? JsonOutcome::kCut : JsonOutcome::kNotJson;
    result.reason = answer.is_cut ? "max_tokens ended it" : "it does not parse";
    return result;
  }
  const absl::Status fits = task.schema.Validate(value);
  result.outcome = fits.ok() ? JsonOutcome::kValid : JsonOutcome::kMisfit;
  result.reason = std::string(fits.message());
  return result;
}

Report MakeJsonReport(const JsonOptions& options, const ServedModel& model,
                      const std::vector<SchemaTask>& tasks, const std::vector<JsonCase>& cases) {
  Report report;
  report.method = absl::StrCat(
      "JSON validity of ", model.name, ": ", options.repeats, " answers to each of ", tasks.size(),
      " schemas at temperature ", options.temperature, " (seed ", options.seed, "), ",
      options.constrained ? "constrained to the schema by the server"
                          : "asked for in the prompt alone, unconstrained",
      ". valid: parses and fits the schema by this program's own validator; length: --max_tokens=",
      options.max_tokens, " ended it before it was whole.");
  std::vector<std::vector<std::string>> table = {{"schema", "answers"}};
  for (const char* name : kOutcomeNames) table[0].push_back(name);
  table[0].push_back("tokens");
  BarChart chart{absl::StrCat("JSON validity, ", model.name), "share of answers, %", {}, {}, {}};
  for (JsonOutcome outcome : kPlotOrder) {
    chart.series.push_back(kOutcomeNames[static_cast<int>(outcome)]);
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Counts counts = CountOutcomes(cases, i, false);
    table.push_back(Row(tasks[i].name, counts, MeanTokens(cases, i, false)));
    chart.names.push_back(tasks[i].name);
    chart.values.emplace_back();
    for (JsonOutcome outcome : kPlotOrder) {
      chart.values.back().push_back(100.0 * Of(counts, outcome) /
                                    static_cast<double>(std::max<int64_t>(options.repeats, 1)));
    }
  }
  table.push_back(Row("all", CountOutcomes(cases, 0, true), MeanTokens(cases, 0, true)));
  report.table = TextTable(table);
  for (const JsonCase& one : cases) {
    if (one.outcome != JsonOutcome::kMisfit && one.outcome != JsonOutcome::kRefused) continue;
    absl::StrAppend(&report.table, tasks[one.task].name, ": ", one.reason, "\n");
  }
  report.svg = ToSvg(chart);
  report.json = ToJson(options, model, report, tasks, cases);
  return report;
}

absl::StatusOr<Report> RunJson(const JsonOptions& options, const EvalClient& client) {
  if (options.schemas.empty()) {
    return absl::InvalidArgumentError(
        R"(--schemas=FILE is missing: lines of {"name": "...", "schema": {...}, "prompt": "..."})");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile("--schemas=", options.schemas));
  absl::StatusOr<std::vector<SchemaTask>> tasks = ParseSchemaTasks(text);
  if (!tasks.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--schemas=", options.schemas, ": ", tasks.status().message()));
  }
  std::vector<JsonCase> cases(tasks->size() * static_cast<size_t>(options.repeats));
  RETURN_IF_ERROR(ForEach(
      static_cast<int>(cases.size()), static_cast<int>(options.common.concurrency),
      [&](int index) -> absl::Status {
        const size_t number = static_cast<size_t>(index) / static_cast<size_t>(options.repeats);
        const SchemaTask& task = (*tasks)[number];
        JsonCase& result = cases[static_cast<size_t>(index)];
        EvalRequest request;
        std::string& prompt =
            client.model().has_chat_template ? request.prompt.user_message : request.prompt.text;
        prompt = absl::StrCat(task.prompt,
                              "\nAnswer with JSON that fits this schema: ", task.schema_text, "\n");
        request.max_tokens = static_cast<uint32_t>(options.max_tokens);
        request.temperature = options.temperature;
        request.seed = static_cast<uint64_t>(options.seed) + static_cast<uint64_t>(index);
        if (options.constrained) request.json_schema = task.schema_text;
        const absl::StatusOr<EvalAnswer> answer = client.Generate(request);
        if (answer.ok()) {
          result = Judge(task, *answer);
        } else if (absl::IsInvalidArgument(answer.status())) {
          result.reason = std::string(answer.status().message());
        } else {
          return answer.status();
        }
        result.task = number;
        return absl::OkStatus();
      }));
  return MakeJsonReport(options, client.model(), *tasks, cases);
}

}  // namespace quartet::cli::eval
