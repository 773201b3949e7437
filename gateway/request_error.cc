#include "gateway/request_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace quartet::gateway {
namespace {

constexpr char kParam[] = "quartet/param";
constexpr char kCode[] = "quartet/code";
constexpr char kRetryAfter[] = "quartet/retry_after_s";

std::string Payload(const absl::Status& status, absl::string_view key) {
  const auto payload = status.GetPayload(key);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status WithField(absl::Status status, absl::string_view param, absl::string_view code) {
  if (!param.empty()) status.SetPayload(kParam, absl::Cord(param));
  if (!code.empty()) status.SetPayload(kCode, absl::Cord(code));
  return status;
}

absl::Status InvalidField(absl::string_view param, absl::string_view message,
                          absl::string_view code) {
  return WithField(absl::InvalidArgumentError(message), param, code);
}

absl::Status TryLater(absl::string_view message, int retry_after_s) {
  absl::Status status = absl::ResourceExhaustedError(message);
  status.SetPayload(kRetryAfter, absl::Cord(absl::StrCat(retry_after_s)));
  return status;
}

std::string ErrorParam(const absl::Status& status) { return Payload(status, kParam); }

std::string ErrorCode(const absl::Status& status) { return Payload(status, kCode); }

int RetryAfterSeconds(const absl::Status& status) {
  int seconds = 0;
  if (absl::SimpleAtoi(Payload(status, kRetryAfter), &seconds)) return seconds;
  return status.code() == absl::StatusCode::kResourceExhausted ? 1 : 0;
}

}  // namespace quartet::gateway
