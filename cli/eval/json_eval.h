// `quartet eval json`: how many answers are JSON that fits the schema they were asked for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/eval/eval_client.h"
#include "cli/eval/json_schema.h"
#include "cli/eval/report_files.h"

namespace quartet::cli::eval {

struct JsonOptions {
  CommonOptions common;
  std::string schemas;  // file of lines {"name": ..., "schema": {...}, "prompt": ...}
  int64_t repeats = 5;
  int64_t max_tokens = 512;
  double temperature = 1;
  int64_t seed = 1;
  bool constrained = true;  // the server is told the schema; false: the prompt alone asks
};

struct SchemaTask {
  std::string name;
  std::string prompt;
  std::string schema_text;  // as in the file: the order of keys is the order of the answer's
  JsonSchema schema;
};

enum class JsonOutcome {
  kValid,    // parses and fits
  kMisfit,   // parses, does not fit
  kNotJson,  // does not parse, though the model ended it
  kCut,      // max_tokens ended it before it was whole
  kRefused,  // the server does not take this schema
};
constexpr int kNumJsonOutcomes = 5;

struct JsonCase {
  size_t task = 0;
  JsonOutcome outcome = JsonOutcome::kRefused;
  std::string reason;  // why it is not valid
  std::string answer;
  uint32_t completion_tokens = 0;
};

// INVALID_ARGUMENT names the line; UNIMPLEMENTED too, for a keyword that can't be checked.
absl::StatusOr<std::vector<SchemaTask>> ParseSchemaTasks(const std::string& text);

// What to make of an answer to `task`.
JsonCase Judge(const SchemaTask& task, const EvalAnswer& answer);

Report MakeJsonReport(const JsonOptions& options, const ServedModel& model,
                      const std::vector<SchemaTask>& tasks, const std::vector<JsonCase>& cases);

absl::StatusOr<Report> RunJson(const JsonOptions& options, const EvalClient& client);

}  // namespace quartet::cli::eval
