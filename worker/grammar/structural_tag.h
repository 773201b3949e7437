// Structural tags: free text with constrained parts, in the JSON form that xgrammar and vLLM share.
// What stands inside as JSON Schema or regular expression is made a grammar here, by the same rules
// as everywhere else, before xgrammar sees it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/grammar/json_schema_grammar.h"

namespace quartet::grammar {

// Takes {"type": "structural_tag", "format": {...}}, or the older form with "structures" and
// "triggers". Returns INVALID_ARGUMENT with what can't be honoured, and where.
absl::StatusOr<std::string> ResolveStructuralTag(absl::string_view text,
                                                 const JsonGrammarOptions& options);

}  // namespace quartet::grammar
