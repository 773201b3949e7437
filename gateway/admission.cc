#include "gateway/admission.h"

#include "absl/strings/str_cat.h"
#include "gateway/request_error.h"

namespace quartet::gateway {

absl::StatusOr<Admission::Ticket> Admission::Enter() {
  if (closed_) return absl::UnavailableError("the server is shutting down");
  if (in_flight_.fetch_add(1) >= max_inflight_) {
    in_flight_.fetch_sub(1);
    return TryLater(absl::StrCat("all ", max_inflight_,
                                 " places for requests are taken (--max_inflight_requests); "
                                 "try again in a second"),
                    /*retry_after_s=*/1);
  }
  return Ticket(this);
}

}  // namespace quartet::gateway
