#include "cli/eval/needle_eval.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/eval/haystack.h"
#include "cli/eval/parallel_requests.h"
#include "cli/eval/svg_plot.h"
#include "cli/eval/text_table.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

constexpr int64_t kShortest = 128;
constexpr int64_t kFirstDefaultLength = 512;
// A prompt this much shorter than asked for is as good.
constexpr int64_t kSlackTokens = 40;
constexpr int kFitAttempts = 12;

EvalPrompt MakePrompt(const std::string& text, const Needle& needle, bool chat) {
  EvalPrompt prompt;
  if (chat) {
    prompt.user_message =
        absl::StrCat("Read this text.\n\n", text, "\n\nQuestion: ", needle.question,
                     " Answer with the number alone.");
  } else {
    prompt.text =
        absl::StrCat(text, "\n\nQuestion: ", needle.question, "\nAnswer: ", needle.answer_start);
  }
  return prompt;
}

// The prompt with as many sentences as fit into `length` tokens.
absl::StatusOr<EvalPrompt> FitPrompt(const EvalClient& client,
                                     const std::vector<std::string>& sentences, int64_t length,
                                     double depth, const Needle& needle, bool chat) {
  constexpr int kSample = 50;
  ASSIGN_OR_RETURN(const auto sample,
                   client.Tokenize(BuildHaystack(sentences, kSample, 0, needle)));
  const double tokens_a_sentence = static_cast<double>(sample.size()) / (kSample + 1);
  int count = static_cast<int>(static_cast<double>(length) / tokens_a_sentence);
  int best_count = -1;
  EvalPrompt best;
  for (int attempt = 0; attempt < kFitAttempts; ++attempt) {
    EvalPrompt prompt = MakePrompt(BuildHaystack(sentences, count, depth, needle), needle, chat);
    ASSIGN_OR_RETURN(const size_t tokens, client.CountTokens(prompt));
    const int64_t room = length - static_cast<int64_t>(tokens);
    if (room >= 0) {
      best_count = count;
      best = std::move(prompt);
      if (room <= kSlackTokens) break;
    }
    // One sentence more or fewer at least, and never back to what is known to fit.
    const int step = static_cast<int>(static_cast<double>(room) / tokens_a_sentence);
    const int next = std::max(0, count + (room >= 0 ? std::max(step, 1) : std::min(step, -1)));
    if (next <= best_count || next == count) break;
    count = next;
  }
  if (best.text.empty() && best.user_message.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--lengths=", length, ": question and needle alone are longer; give at least ", kShortest));
  }
  return best;
}

absl::StatusOr<bool> UsesChat(const std::string& format, const ServedModel& model) {
  if (format == "auto") return model.has_chat_template;
  if (format == "text") return false;
  if (format == "chat" && model.has_chat_template) return true;
  return absl::InvalidArgumentError(absl::StrCat(
      "--format=", format, ": must be auto, text or, for a model with a chat template, chat"));
}

double Recall(const std::vector<NeedleCase>& cases, int64_t length, int64_t depth) {
  int found = 0, total = 0;
  for (const NeedleCase& one : cases) {
    if (one.length != length || (depth >= 0 && one.depth != depth)) continue;
    ++total;
    found += one.found;
  }
  return total == 0 ? 0 : static_cast<double>(found) / total;
}

std::string ToJson(const NeedleOptions& options, const ServedModel& model, const Report& report,
                   const std::vector<NeedleCase>& cases) {
  nlohmann::ordered_json json = {{"eval", "needle"},
                                 {"model", model.name},
                                 {"method", report.method},
                                 {"seed", options.seed},
                                 {"recall", nlohmann::ordered_json::array()},
                                 {"cases", nlohmann::ordered_json::array()}};
  for (int64_t length : options.lengths) {
    for (int64_t depth : options.depths) {
      json["recall"].push_back(
          {{"length", length}, {"depth", depth}, {"recall", Recall(cases, length, depth)}});
    }
  }
  for (const NeedleCase& one : cases) {
    json["cases"].push_back({{"length", one.length},
                             {"depth", one.depth},
                             {"prompt_tokens", one.prompt_tokens},
                             {"expected", one.expected},
                             {"answer", one.answer},
                             {"found", one.found}});
  }
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

bool ContainsNumber(const std::string& answer, const std::string& expected) {
  std::string digits;
  for (size_t i = 0; i < answer.size(); ++i) {
    const bool separates = (answer[i] == ',' || answer[i] == ' ' || answer[i] == '.') && i > 0 &&
                           i + 1 < answer.size() && absl::ascii_isdigit(answer[i - 1]) &&
                           absl::ascii_isdigit(answer[i + 1]);
    if (!separates) digits += absl::ascii_isdigit(answer[i]) ? answer[i] : 'x';
  }
  // A longer number that happens to contain it is another number.
  return absl::StrCat("x", digits, "x").find(absl::StrCat("x", expected, "x")) != std::string::npos;
}

absl::StatusOr<std::vector<int64_t>> ResolveLengths(const NeedleOptions& options,
                                                    const ServedModel& model) {
  const int64_t longest = static_cast<int64_t>(model.max_model_len) - options.max_tokens;
  for (int64_t length : options.lengths) {
    if (length >= kShortest && length <= longest) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--lengths: ", length, " is not between ", kShortest, " and ", longest,
                     ", which is what the context of ", model.max_model_len,
                     " tokens leaves beside --max_tokens=", options.max_tokens));
  }
  if (!options.lengths.empty()) return options.lengths;
  std::vector<int64_t> lengths;
  for (int64_t n = kFirstDefaultLength; n < longest; n *= 2) lengths.push_back(n);
  lengths.push_back(longest);
  return lengths;
}

Report MakeNeedleReport(const NeedleOptions& options, const ServedModel& model,
                        const std::vector<NeedleCase>& cases) {
  Report report;
  report.method = absl::StrCat(
      "Needle recall of ", model.name, ": a sentence with a seven-digit number is put into ",
      options.haystack.empty() ? "generated sentences" : options.haystack,
      " and asked for. Columns: tokens of the whole prompt; rows: share of the text before the "
      "needle. ",
      options.repeats, " needles a cell (seed ", options.seed,
      "), greedy decoding; found means that the answer contains exactly that number.");
  std::vector<std::vector<std::string>> table = {{"depth"}};
  HeatMap map{absl::StrCat("Needle recall, ", model.name), "prompt tokens", "depth", {}, {}, {}};
  for (int64_t length : options.lengths) {
    table[0].push_back(absl::StrCat(length));
    map.columns.push_back(absl::StrCat(length));
  }
  for (int64_t depth : options.depths) {
    std::vector<std::string> row = {absl::StrCat(depth, "%")};
    map.rows.push_back(row[0]);
    map.values.emplace_back();
    for (int64_t length : options.lengths) {
      const double recall = Recall(cases, length, depth);
      row.push_back(absl::StrFormat("%.0f%%", 100 * recall));
      map.values.back().push_back(recall);
    }
    table.push_back(std::move(row));
  }
  table.push_back({"all"});
  for (int64_t length : options.lengths) {
    table.back().push_back(absl::StrFormat("%.0f%%", 100 * Recall(cases, length, -1)));
  }
  report.table = TextTable(table);
  report.svg = ToSvg(map);
  report.json = ToJson(options, model, report, cases);
  return report;
}

absl::StatusOr<Report> RunNeedle(NeedleOptions options, const EvalClient& client) {
  ASSIGN_OR_RETURN(options.lengths, ResolveLengths(options, client.model()));
  ASSIGN_OR_RETURN(const bool chat, UsesChat(options.format, client.model()));
  std::vector<std::string> sentences;
  if (options.haystack.empty()) {
    // Sixteen tokens or so each, and more than enough never hurts: few repeat in any prompt.
    const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
    sentences =
        PlainSentences(static_cast<int>(longest / 8 + 64), static_cast<uint64_t>(options.seed));
  } else {
    ASSIGN_OR_RETURN(const std::string text, ReadFile("--haystack=", options.haystack));
    sentences = SplitSentences(text);
    if (sentences.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--haystack=", options.haystack, " has no sentence"));
    }
  }
  std::vector<NeedleCase> cases;
  for (int64_t length : options.lengths) {
    for (int64_t depth : options.depths) {
      for (int64_t i = 0; i < options.repeats; ++i)
        cases.push_back({length, depth, "", "", 0, false});
    }
  }
  RETURN_IF_ERROR(
      ForEach(static_cast<int>(cases.size()), static_cast<int>(options.common.concurrency),
              [&](int index) -> absl::Status {
                NeedleCase& one = cases[static_cast<size_t>(index)];
                const Needle needle = MakeNeedle(static_cast<uint64_t>(options.seed) * 1'000'003 +
                                                 static_cast<uint64_t>(index));
                EvalRequest request;
                ASSIGN_OR_RETURN(request.prompt,
                                 FitPrompt(client, sentences, one.length,
                                           static_cast<double>(one.depth) / 100, needle, chat));
                request.max_tokens = static_cast<uint32_t>(options.max_tokens);
                ASSIGN_OR_RETURN(EvalAnswer answer, client.Generate(request));
                one.expected = needle.answer;
                one.prompt_tokens = answer.prompt_tokens;
                one.found = ContainsNumber(answer.text, needle.answer);
                one.answer = std::move(answer.text);
                return absl::OkStatus();
              }));
  return MakeNeedleReport(options, client.model(), cases);
}

}  // namespace quartet::cli::eval
