// Rewrites a JSON text the way chat templates print values: as Python's
// json.dumps(json.loads(text), ensure_ascii=False).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// Key order is kept, a repeated key takes its last value in its first place; ", " and ": " part the
// items; whole numbers keep all their digits, others are printed as Python's repr does. Returns
// INVALID_ARGUMENT with the byte offset if `text` is not JSON, holds a lone surrogate, or is nested
// more than 200 deep.
absl::StatusOr<std::string> RewriteJson(absl::string_view text);

// A double as Python's repr prints it; "Infinity" as json.dumps does.
std::string PythonFloat(double value);

}  // namespace quartet::tokenizer
