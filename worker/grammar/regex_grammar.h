// Regular expressions as EBNF. The dialect is what ECMAScript and JSON Schema share and a grammar
// can honour: literals, classes, groups, alternatives, repetition. What it can't honour (look-
// around, back-references, word boundaries, anchors inside) is refused by name, never ignored.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/grammar/ebnf.h"

namespace quartet::grammar {

enum class RegexContext {
  kText,        // the characters stand as they are
  kJsonString,  // they stand inside a JSON string, where some must be escaped
};

// Repetition counts that are multiplied by nesting may reach this much together.
inline constexpr int64_t kMaxRegexRepetition = 20'000;

// An expression that matches what the whole of `regex` matches; without ^ and $ too, it means the
// whole text. Returns INVALID_ARGUMENT with the position of what can't be honoured.
absl::StatusOr<std::string> RegexExpression(absl::string_view regex, RegexContext context);

}  // namespace quartet::grammar
