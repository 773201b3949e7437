// Parses a template into its tree.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/ast.h"
#include "tokenizer_service/jinja/limits.h"

namespace quartet::tokenizer::jinja {

// INVALID_ARGUMENT naming the line and what is wrong or not supported there.
absl::StatusOr<Program> ParseProgram(absl::string_view source, const Limits& limits);

}  // namespace quartet::tokenizer::jinja
