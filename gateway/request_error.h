// Errors that name the field of a request: an absl::Status that carries OpenAI's "param" and "code"
// as payloads, so that the HTTP face can show them and the gRPC face still has plain codes and
// messages.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace quartet::gateway {

// INVALID_ARGUMENT for the field `param`; `code` is OpenAI's machine-readable name of the error, or
// empty.
absl::Status InvalidField(absl::string_view param, absl::string_view message,
                          absl::string_view code = "");
// `status` with param and code added.
absl::Status WithField(absl::Status status, absl::string_view param, absl::string_view code);
// RESOURCE_EXHAUSTED that tells the client when to come back.
absl::Status TryLater(absl::string_view message, int retry_after_s);

// The field that `status` names, or empty.
std::string ErrorParam(const absl::Status& status);
// OpenAI's code of `status`, or empty.
std::string ErrorCode(const absl::Status& status);
// Seconds after which a retry makes sense; 0 if `status` says nothing of it.
int RetryAfterSeconds(const absl::Status& status);

}  // namespace quartet::gateway
