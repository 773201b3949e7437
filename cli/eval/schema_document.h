// A compiled JSON Schema and the two things done with it: json_schema.cc makes one, this validates.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/eval/pattern.h"

namespace quartet::cli::eval {

struct SchemaDocument {
  nlohmann::json root;
  std::map<std::string, Pattern> patterns;  // every expression in the schema

  // The schema that a $ref leads to.
  absl::StatusOr<const nlohmann::json*> Resolve(const std::string& reference) const;
};

// REQUIRES: JsonSchema::Compile has checked the document.
absl::Status Validate(const SchemaDocument& document, const nlohmann::json& value);

}  // namespace quartet::cli::eval
