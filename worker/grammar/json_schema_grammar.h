// JSON Schema (draft 2020-12) as EBNF. What the grammar makes always fits the schema: a keyword is
// honoured wholly or refused by name and path. It may make less than the schema allows: properties
// come in the schema's order, white space and numbers are spelled one way, patterns are matched as
// a whole (docs/structured_output.md lists all of it).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/grammar/json_schema_node.h"

namespace quartet::grammar {

struct JsonGrammarOptions {
  bool compact = false;  // no white space between tokens
};

// Returns INVALID_ARGUMENT with keyword and path if the schema can't be honoured, is no schema, or
// fits no value.
absl::StatusOr<std::string> JsonSchemaTextToEbnf(absl::string_view schema,
                                                 const JsonGrammarOptions& options);
absl::StatusOr<std::string> JsonSchemaToEbnf(const Schema& schema,
                                             const JsonGrammarOptions& options);

// Reads JSON text of bounded depth. Returns INVALID_ARGUMENT with the place of the mistake.
absl::StatusOr<Schema> ParseJson(absl::string_view text);

}  // namespace quartet::grammar
