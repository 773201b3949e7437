#include "worker/engine/sampling_params.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"

namespace quartet::engine {
namespace {

absl::Status OutOfRange(absl::string_view field, const absl::AlphaNum& value,
                        absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", must be in ", range));
}

// Written so that NaN fails.
absl::Status CheckClosed(absl::string_view field, float value, float low, float high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(field, value, absl::StrCat("[", low, ", ", high, "]"));
}

absl::Status CheckHalfOpen(absl::string_view field, float value, float high) {
  if (value > 0 && value <= high) return absl::OkStatus();
  return OutOfRange(field, value, absl::StrCat("(0, ", high, "]"));
}

absl::Status CheckId(absl::string_view field, int64_t id, int64_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " names token id ", id,
                                                 ", but the model has the ids below ", vocab_size));
}

absl::Status CheckBannedSequences(const std::vector<std::vector<int32_t>>& sequences,
                                  int64_t vocab_size) {
  int64_t num_ids = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("banned_sequences[", i, "] has no ids"));
    }
    num_ids += static_cast<int64_t>(sequences[i].size());
    for (int32_t id : sequences[i]) {
      RETURN_IF_ERROR(CheckId(absl::StrCat("banned_sequences[", i, "]"), id, vocab_size));
    }
  }
  const int64_t num_sequences = static_cast<int64_t>(sequences.size());
  if (num_sequences <= kMaxBannedSequences && num_ids <= kMaxBannedIds) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "banned_sequences has ", num_sequences, " sequences of ", num_ids, " ids in all, at most ",
      kMaxBannedSequences, " of ", kMaxBannedIds, " are served"));
}

}  // namespace

absl::Status ValidateSamplingParams(const SamplingParams& params, int64_t vocab_size) {
  RETURN_IF_ERROR(CheckClosed("temperature", params.temperature, 0, 100));
  RETURN_IF_ERROR(CheckHalfOpen("top_p", params.top_p, 1));
  if (params.top_k < -1) return OutOfRange("top_k", params.top_k, "[-1, 2147483647]");
  RETURN_IF_ERROR(CheckClosed("min_p", params.min_p, 0, 1));
  RETURN_IF_ERROR(CheckHalfOpen("repetition_penalty", params.repetition_penalty, 100));
  RETURN_IF_ERROR(CheckClosed("presence_penalty", params.presence_penalty, -2, 2));
  RETURN_IF_ERROR(CheckClosed("frequency_penalty", params.frequency_penalty, -2, 2));
  for (const kernels::LogitBias& bias : params.logit_bias) {
    RETURN_IF_ERROR(CheckId("logit_bias", bias.token_id, vocab_size));
    RETURN_IF_ERROR(
        CheckClosed(absl::StrCat("logit_bias of ", bias.token_id), bias.bias, -100, 100));
  }
  if (params.max_tokens < 1) return OutOfRange("max_tokens", params.max_tokens, "[1, 4294967295]");
  if (params.min_tokens < 0 || params.min_tokens > params.max_tokens) {
    return OutOfRange("min_tokens", params.min_tokens,
                      absl::StrCat("[0, max_tokens = ", params.max_tokens, "]"));
  }
  for (int32_t id : params.stop_token_ids) {
    RETURN_IF_ERROR(CheckId("stop_token_ids", id, vocab_size));
  }
  for (int32_t id : params.allowed_token_ids) {
    RETURN_IF_ERROR(CheckId("allowed_token_ids", id, vocab_size));
  }
  RETURN_IF_ERROR(CheckBannedSequences(params.banned_sequences, vocab_size));
  const auto check_logprobs = [](absl::string_view field, int32_t value) {
    return value >= -1 && value <= kMaxLogprobs
               ? absl::OkStatus()
               : OutOfRange(field, value, absl::StrCat("[0, ", kMaxLogprobs, "]"));
  };
  RETURN_IF_ERROR(check_logprobs("logprobs", params.num_logprobs));
  return check_logprobs("prompt_logprobs", params.num_prompt_logprobs);
}

}  // namespace quartet::engine
