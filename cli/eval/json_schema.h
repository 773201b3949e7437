// Checks JSON values against a JSON Schema (draft 2020-12), independently of what made them.
//
// Known: all assertions and applicators but unevaluatedProperties, unevaluatedItems, $anchor,
// $dynamicRef, an $id below the root and references to other documents; those are refused by name.
// `format` and the content keywords are annotations, as the draft says.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quartet::cli::eval {

struct SchemaDocument;

class JsonSchema {
 public:
  // Returns UNIMPLEMENTED for a keyword that is not known here, INVALID_ARGUMENT for one that has
  // no sense; both name the place in the schema.
  static absl::StatusOr<JsonSchema> Compile(const nlohmann::json& schema);

  JsonSchema(JsonSchema&&) noexcept;
  JsonSchema& operator=(JsonSchema&&) noexcept;
  ~JsonSchema();

  // OK if `value` fits; else INVALID_ARGUMENT that names the place in the value and the keyword.
  // May be called from several threads.
  absl::Status Validate(const nlohmann::json& value) const;

 private:
  explicit JsonSchema(std::unique_ptr<SchemaDocument> document);

  std::unique_ptr<SchemaDocument> document_;
};

}  // namespace quartet::cli::eval
