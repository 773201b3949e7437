// What several parts of the JSON Schema reader ask of a schema: its keywords' kinds, references,
// types, and combining two schemas that must hold at once. Everything here is exact, or refuses.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::grammar {

// Keeps the order of properties.
using Schema = nlohmann::ordered_json;

// JSON's types as bits; kNumber contains kInteger.
enum TypeBits : unsigned {
  kNullType = 1,
  kBooleanType = 2,
  kObjectType = 4,
  kArrayType = 8,
  kStringType = 16,
  kIntegerType = 32,
  kFractionType = 64,  // numbers that are no integers
  kNumberType = kIntegerType | kFractionType,
  kAllTypes = 127,
};

absl::Status SchemaError(absl::string_view path, absl::string_view what);

// Whether the keyword says nothing about which values fit.
bool IsAnnotation(absl::string_view keyword);
// INVALID_ARGUMENT naming keyword and path if there is one in `schema` that constrains values and
// that can't be honoured. Looks at this schema's own keywords only.
absl::Status CheckKeywords(const Schema& schema, absl::string_view path);

// The types that the schema's "type" allows; without it, those that its other keywords speak of
// (an object if it has "properties"), or all.
absl::StatusOr<unsigned> TypesOf(const Schema& schema, absl::string_view path);
unsigned TypeOfValue(const Schema& value);

// Follows a chain of $ref in the document `root`; the result has no $ref. Keywords beside a $ref
// are combined with what it names.
absl::StatusOr<Schema> Dereference(const Schema& root, const Schema& schema,
                                   absl::string_view path);
// What one local reference names.
absl::StatusOr<const Schema*> Lookup(const Schema& root, const std::string& reference,
                                     absl::string_view path);

// A schema that allows exactly what both allow; dereferences what it must look into.
absl::StatusOr<Schema> Combine(const Schema& root, Schema a, Schema b, absl::string_view path,
                               int depth = 0);

// Whether no value fits both, as far as types, constants and constant properties show.
bool AreDisjoint(const Schema& root, const Schema& a, const Schema& b, int depth = 0);

}  // namespace quartet::grammar
