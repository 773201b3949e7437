// `quartet eval`: what a served model can do, measured through the server.

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/eval/eval_client.h"
#include "cli/eval/json_eval.h"
#include "cli/eval/needle_eval.h"
#include "cli/eval/perplexity_eval.h"
#include "cli/eval/report_files.h"
#include "cli/flag_set.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

constexpr char kUsage[] =
    "usage: quartet eval KIND [flags]\n\n"
    "  needle      whether the model finds one sentence in a long text, by length and place\n"
    "  json        how many answers are JSON that fits a schema, over a file of schemas\n"
    "  perplexity  how well the model predicts the texts of files\n\n"
    "`quartet eval KIND --help` lists a kind's flags.\n";

absl::Status CheckCommon(const eval::CommonOptions& options) {
  RETURN_IF_ERROR(eval::CheckAtLeast("concurrency", options.concurrency, 1));
  return eval::CheckWritable(options);
}

absl::Status NoArguments(const Arguments& rest) {
  if (rest.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", rest[0], "' is no flag"));
}

// A flag of numbers separated by commas.
void AddList(FlagSet* flags, absl::string_view name, std::vector<int64_t>* value,
             absl::string_view help, absl::string_view default_text) {
  flags->Add(name, /*is_bool=*/false, help, default_text,
             [name = std::string(name), value](absl::string_view text) -> absl::Status {
               value->clear();
               for (absl::string_view part : absl::StrSplit(text, ',')) {
                 int64_t number = 0;
                 if (!absl::SimpleAtoi(part, &number)) {
                   return absl::InvalidArgumentError(absl::StrCat(
                       "--", name, "=", text, ": must be numbers separated by commas"));
                 }
                 value->push_back(number);
               }
               return absl::OkStatus();
             });
}

absl::Status EvalNeedle(const Arguments& arguments) {
  eval::NeedleOptions options;
  FlagSet flags("eval needle", "[flags]",
                "Hides a sentence with a number in texts of growing length, asks for the number, "
                "and reports how often it comes back.");
  eval::AddCommonFlags(&flags, &options.common);
  AddList(&flags, "lengths", &options.lengths, "Tokens of the whole prompt.",
          "512, 1024, ... and the longest that fits");
  AddList(&flags, "depths", &options.depths, "Percent of the text before the sentence.",
          absl::StrJoin(options.depths, ","));
  flags.Add("repeats", &options.repeats, "Sentences for each length and depth.");
  flags.Add("max_tokens", &options.max_tokens, "Longest answer.");
  flags.Add("seed", &options.seed, "Seed of texts and numbers.");
  flags.Add("haystack", &options.haystack, "File to hide the sentence in; empty: generated text.");
  flags.Add("format", &options.format,
            "chat: as a user's message; text: as a text to continue; auto: chat if the model has a "
            "chat template.");
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  RETURN_IF_ERROR(NoArguments(rest));
  RETURN_IF_ERROR(eval::CheckAtLeast("repeats", options.repeats, 1));
  RETURN_IF_ERROR(eval::CheckAtLeast("max_tokens", options.max_tokens, 1));
  for (int64_t depth : options.depths) {
    if (depth >= 0 && depth <= 100) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--depths: ", depth, " is not between 0 and 100"));
  }
  RETURN_IF_ERROR(CheckCommon(options.common));
  ASSIGN_OR_RETURN(const auto client, eval::EvalClient::Connect(options.common.address));
  ASSIGN_OR_RETURN(const eval::Report report, eval::RunNeedle(options, *client));
  return eval::Publish(report, options.common);
}

absl::Status EvalJson(const Arguments& arguments) {
  eval::JsonOptions options;
  FlagSet flags("eval json", "--schemas=FILE [flags]",
                "Asks for answers to each schema of a file and reports how many parse and fit.");
  eval::AddCommonFlags(&flags, &options.common);
  flags.Add("schemas", &options.schemas,
            R"(File with a line {"name": "...", "schema": {...}, "prompt": "..."} for each.)");
  flags.Add("repeats", &options.repeats, "Answers to each schema.");
  flags.Add("max_tokens", &options.max_tokens, "Longest answer.");
  flags.Add("temperature", &options.temperature, "Sampling temperature; 0 is greedy.");
  flags.Add("seed", &options.seed, "Seed of the sampling.");
  flags.Add("constrained", &options.constrained,
            "Whether the server is told the schema, or only the model in its prompt.");
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  RETURN_IF_ERROR(NoArguments(rest));
  RETURN_IF_ERROR(eval::CheckAtLeast("repeats", options.repeats, 1));
  RETURN_IF_ERROR(eval::CheckAtLeast("max_tokens", options.max_tokens, 1));
  RETURN_IF_ERROR(CheckCommon(options.common));
  ASSIGN_OR_RETURN(const auto client, eval::EvalClient::Connect(options.common.address));
  ASSIGN_OR_RETURN(const eval::Report report, eval::RunJson(options, *client));
  return eval::Publish(report, options.common);
}

absl::Status EvalPerplexity(const Arguments& arguments) {
  eval::PerplexityOptions options;
  FlagSet flags("eval perplexity", "[flags] FILE...",
                "Reports perplexity and bits per byte of each file, for instance one a language.");
  eval::AddCommonFlags(&flags, &options.common);
  flags.Add("context", &options.context,
            "Tokens of a window; 0: 2048, or as many as the model's context allows.");
  flags.Add("stride", &options.stride, "Tokens from one window to the next; 0: half of --context.");
  ASSIGN_OR_RETURN(options.files, flags.Parse(arguments));
  RETURN_IF_ERROR(CheckCommon(options.common));
  ASSIGN_OR_RETURN(const auto client, eval::EvalClient::Connect(options.common.address));
  ASSIGN_OR_RETURN(const eval::Report report, eval::RunPerplexity(options, *client));
  return eval::Publish(report, options.common);
}

}  // namespace

absl::Status Eval(const Arguments& arguments) {
  const std::string kind = arguments.empty() ? "" : arguments[0];
  if (kind == "--help" || kind == "-h" || kind == "help") return absl::CancelledError(kUsage);
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (kind == "needle") return EvalNeedle(rest);
  if (kind == "json") return EvalJson(rest);
  if (kind == "perplexity") return EvalPerplexity(rest);
  return absl::InvalidArgumentError(
      kind.empty() ? kUsage : absl::StrCat("there is no kind '", kind, "'\n", kUsage));
}

}  // namespace quartet::cli
