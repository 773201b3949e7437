#include "worker/engine/request_validation.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::engine {
namespace {

absl::Status CheckIds(absl::string_view field, const std::vector<int32_t>& ids, int64_t limit) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "] is ", ids[i], ", but the model has the ids below ", limit));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const SequenceRequest& request, int64_t vocab_size,
                             const SchedulerOptions& options) {
  if (request.prompt_ids.empty()) {
    return absl::InvalidArgumentError("prompt_ids is empty: the model needs at least one token");
  }
  RETURN_IF_ERROR(CheckIds("prompt_ids", request.prompt_ids, vocab_size));
  RETURN_IF_ERROR(CheckIds("output_ids", request.output_ids, vocab_size));
  RETURN_IF_ERROR(CheckIds("eos_token_ids", request.eos_token_ids, vocab_size));
  RETURN_IF_ERROR(ValidateSamplingParams(request.sampling, vocab_size));
  if (static_cast<int64_t>(request.output_ids.size()) >= request.sampling.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("output_ids has ", request.output_ids.size(), " ids and max_tokens is ",
                     request.sampling.max_tokens, ": nothing is left to generate"));
  }
  return Scheduler::CheckFits(request, options);
}

}  // namespace quartet::engine
