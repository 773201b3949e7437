#include "cli/eval/perplexity_eval.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/eval/parallel_requests.h"
#include "cli/eval/svg_plot.h"
#include "cli/eval/text_table.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

constexpr int64_t kDefaultContext = 2048;

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Sum of -log p of the tokens that `window` scores.
absl::StatusOr<double> ScoreWindow(const EvalClient& client, const std::vector<uint32_t>& ids,
                                   const Window& window) {
  EvalRequest request;
  request.prompt.token_ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(window.begin),
                                  ids.begin() + static_cast<std::ptrdiff_t>(window.end));
  request.prompt_logprobs = true;
  ASSIGN_OR_RETURN(const EvalAnswer answer, client.Generate(request));
  // Entry i belongs to token i + 1 of the window.
  if (answer.prompt_logprobs.size() != window.end - window.begin - 1) {
    return absl::InternalError(absl::StrCat("the server gave ", answer.prompt_logprobs.size(),
                                            " log-probabilities for a prompt of ",
                                            window.end - window.begin, " tokens"));
  }
  double nats = 0;
  for (size_t i = window.first_scored - window.begin - 1; i < answer.prompt_logprobs.size(); ++i) {
    nats -= answer.prompt_logprobs[i];
  }
  return nats;
}

absl::StatusOr<FilePerplexity> ScoreFile(const PerplexityOptions& options, const std::string& path,
                                         const EvalClient& client) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile("", path));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, client.Tokenize(text));
  if (ids.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", ids.size(), " tokens; at least 2 are needed"));
  }
  const std::vector<Window> windows = MakeWindows(ids.size(), static_cast<size_t>(options.context),
                                                  static_cast<size_t>(options.stride));
  std::vector<double> nats(windows.size());
  RETURN_IF_ERROR(ForEach(static_cast<int>(windows.size()),
                          static_cast<int>(options.common.concurrency), [&](int i) -> absl::Status {
                            ASSIGN_OR_RETURN(
                                nats[static_cast<size_t>(i)],
                                ScoreWindow(client, ids, windows[static_cast<size_t>(i)]));
                            return absl::OkStatus();
                          }));
  FilePerplexity result{BaseName(path), ids.size(), windows.size(), {}};
  // In order, so that the last digit does not depend on which window came first.
  for (double one : nats) result.perplexity.total_nats += one;
  result.perplexity.num_scored = ids.size() - 1;
  ASSIGN_OR_RETURN(const std::string first, client.Detokenize({ids[0]}));
  // A first token of half a character can't be told apart; then its bytes count as scored.
  result.perplexity.num_bytes = text.size() - (absl::StartsWith(text, first) ? first.size() : 0);
  return result;
}

std::string ToJson(const PerplexityOptions& options, const ServedModel& model, const Report& report,
                   const std::vector<FilePerplexity>& files) {
  nlohmann::ordered_json json = {
      {"eval", "perplexity"},     {"model", model.name},
      {"method", report.method},  {"context", options.context},
      {"stride", options.stride}, {"files", nlohmann::ordered_json::array()}};
  for (const FilePerplexity& file : files) {
    json["files"].push_back({{"name", file.name},
                             {"tokens_scored", file.perplexity.num_scored},
                             {"bytes_scored", file.perplexity.num_bytes},
                             {"windows", file.num_windows},
                             {"total_nats", file.perplexity.total_nats},
                             {"nats_per_token", file.perplexity.NatsPerToken()},
                             {"perplexity", file.perplexity.PerToken()},
                             {"bits_per_byte", file.perplexity.BitsPerByte()}});
  }
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::Status ResolveWindows(const ServedModel& model, PerplexityOptions* options) {
  // One place is for the token that every request must generate.
  const int64_t longest = static_cast<int64_t>(model.max_model_len) - 1;
  if (options->context == 0) options->context = std::min(kDefaultContext, longest);
  if (options->context < 2 || options->context > longest) {
    return absl::InvalidArgumentError(absl::StrCat("--context=", options->context,
                                                   ": must be between 2 and ", longest,
                                                   ", one less than the context of ", model.name));
  }
  if (options->stride == 0) options->stride = std::max<int64_t>(1, options->context / 2);
  if (options->stride < 1 || options->stride >= options->context) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--stride=", options->stride, ": must be between 1 and ", options->context - 1,
        ", so that windows overlap by one token at least (--context=", options->context, ")"));
  }
  return absl::OkStatus();
}

Report MakePerplexityReport(const PerplexityOptions& options, const ServedModel& model,
                            const std::vector<FilePerplexity>& files) {
  Report report;
  report.method = absl::StrCat(
      "Perplexity of ", model.name, ": each file is tokenized as one text, without tokens of the ",
      "tokenizer's own, and read in windows of ", options.context, " tokens, each ", options.stride,
      " after the one before it. Every token but the file's first is scored once, in the first "
      "window that has it, so with at least ",
      options.context - options.stride,
      " tokens before it beyond the first window. Natural logarithms of the raw logits; bits per "
      "byte of UTF-8 compare models with different tokenizers.");
  std::vector<std::vector<std::string>> table = {
      {"file", "bytes", "tokens", "bytes/token", "nats/token", "perplexity", "bits/byte"}};
  BarChart chart{absl::StrCat("Bits per byte, ", model.name),
                 "bits per byte of UTF-8 (less is better)",
                 {},
                 {"bits per byte"},
                 {}};
  for (const FilePerplexity& file : files) {
    const Perplexity& p = file.perplexity;
    table.push_back({file.name, absl::StrCat(p.num_bytes), absl::StrCat(p.num_scored),
                     absl::StrFormat("%.2f", static_cast<double>(p.num_bytes) /
                                                 static_cast<double>(p.num_scored)),
                     absl::StrFormat("%.4f", p.NatsPerToken()),
                     absl::StrFormat("%.3f", p.PerToken()),
                     absl::StrFormat("%.4f", p.BitsPerByte())});
    chart.names.push_back(file.name);
    chart.values.push_back({p.BitsPerByte()});
  }
  report.table = TextTable(table);
  report.svg = ToSvg(chart);
  report.json = ToJson(options, model, report, files);
  return report;
}

absl::StatusOr<Report> RunPerplexity(PerplexityOptions options, const EvalClient& client) {
  if (options.files.empty()) {
    return absl::InvalidArgumentError("there is no file: quartet eval perplexity FILE...");
  }
  RETURN_IF_ERROR(ResolveWindows(client.model(), &options));
  std::vector<FilePerplexity> results;
  for (const std::string& path : options.files) {
    ASSIGN_OR_RETURN(FilePerplexity result, ScoreFile(options, path, client));
    results.push_back(std::move(result));
  }
  return MakePerplexityReport(options, client.model(), results);
}

}  // namespace quartet::cli::eval
