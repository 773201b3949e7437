#include "gateway/admission.h"

#include "absl/strings/str_cat.h"
#include "gateway/request_error.h"

namespace quartet::gateway {

absl::Status Admission::ClosedError() {
  return absl::UnavailableError("the server is draining: it takes no new requests");
}

absl::StatusOr<Admission::Ticket> Admission::Enter() {
  if (closed_) return ClosedError();
  if (in_flight_.fetch_add(1) >= max_inflight_) {
    in_flight_.fetch_sub(1);
    return TryLater(absl::StrCat("all ", max_inflight_,
                                 " places for requests are taken (--max_inflight_requests); "
                                 "try again in a second"),
                    /*retry_after_s=*/1);
  }
  return Ticket(this);
}

absl::Status Admission::Ticket::AddPromptTokens(size_t num_tokens) {
  if (admission_ == nullptr) return absl::OkStatus();
  prompt_tokens_ = num_tokens;
  const size_t before = admission_->prompt_tokens_.fetch_add(num_tokens);
  // A prompt that is alone is taken whatever its length: its own bound is the context.
  if (before == 0 || before + num_tokens <= admission_->max_prompt_tokens_) return absl::OkStatus();
  return TryLater(absl::StrCat("the prompt has ", num_tokens, " tokens, and ", before, " of ",
                               admission_->max_prompt_tokens_,
                               " tokens of prompts are taken (--max_inflight_prompt_tokens); "
                               "try again in a second"),
                  /*retry_after_s=*/1);
}

}  // namespace quartet::gateway
