// The text constants of templates: Python's backslash escapes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer::jinja {

// What stands between the quotes, as the text it means. An unknown escape stays as it is, as in
// Python. INVALID_ARGUMENT for a broken one, \N{...} and lone surrogates.
absl::StatusOr<std::string> ParseStringLiteral(absl::string_view literal);

}  // namespace quartet::tokenizer::jinja
