// `quartet eval needle`: whether a model finds one sentence in a long text, by length of the text
// and place of the sentence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/eval/eval_client.h"
#include "cli/eval/report_files.h"

namespace quartet::cli::eval {

struct NeedleOptions {
  CommonOptions common;
  std::vector<int64_t> lengths;  // prompt tokens; empty: powers of two as far as the context goes
  std::vector<int64_t> depths = {0, 25, 50, 75, 100};  // percent of the sentences before the needle
  int64_t repeats = 3;                                 // needles a cell
  int64_t max_tokens = 32;
  int64_t seed = 1;
  std::string haystack;  // file; empty: generated sentences
  std::string format = "auto";
};

struct NeedleCase {
  int64_t length = 0;
  int64_t depth = 0;
  std::string expected;
  std::string answer;
  uint32_t prompt_tokens = 0;
  bool found = false;
};

// All digits of `expected` stand together somewhere in `answer`; separators inside a number
// (1,234,567) don't count.
bool ContainsNumber(const std::string& answer, const std::string& expected);

// The lengths to use: those given if all fit, INVALID_ARGUMENT otherwise; by default 512, 1024, ...
// and the longest that fits.
absl::StatusOr<std::vector<int64_t>> ResolveLengths(const NeedleOptions& options,
                                                    const ServedModel& model);

// `options.lengths` are the resolved ones.
Report MakeNeedleReport(const NeedleOptions& options, const ServedModel& model,
                        const std::vector<NeedleCase>& cases);

absl::StatusOr<Report> RunNeedle(NeedleOptions options, const EvalClient& client);

}  // namespace quartet::cli::eval
