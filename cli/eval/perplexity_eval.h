// `quartet eval perplexity`: how well a model predicts the texts of files, for instance one a
// language.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/eval/eval_client.h"
#include "cli/eval/perplexity_windows.h"
#include "cli/eval/report_files.h"

namespace quartet::cli::eval {

struct PerplexityOptions {
  CommonOptions common;
  std::vector<std::string> files;
  int64_t context = 0;  // tokens of a window; 0: 2048, or what the model's context allows
  int64_t stride = 0;   // tokens from one window to the next; 0: half the context
};

struct FilePerplexity {
  std::string name;
  size_t num_tokens = 0;
  size_t num_windows = 0;
  Perplexity perplexity;
};

// Sets context and stride, or INVALID_ARGUMENT.
absl::Status ResolveWindows(const ServedModel& model, PerplexityOptions* options);

Report MakePerplexityReport(const PerplexityOptions& options, const ServedModel& model,
                            const std::vector<FilePerplexity>& files);

absl::StatusOr<Report> RunPerplexity(PerplexityOptions options, const EvalClient& client);

}  // namespace quartet::cli::eval
