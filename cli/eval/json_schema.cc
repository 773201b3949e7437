#include "cli/eval/json_schema.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/eval/schema_document.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

using nlohmann::json;

constexpr const char* kOneSchema[] = {"not",   "if",       "then",          "else",
                                      "items", "contains", "propertyNames", "additionalProperties"};
constexpr const char* kSchemaLists[] = {"allOf", "anyOf", "oneOf", "prefixItems"};
constexpr const char* kSchemaMaps[] = {"properties", "patternProperties", "dependentSchemas",
                                       "$defs", "definitions"};
constexpr const char* kNumbers[] = {"multipleOf", "minimum", "maximum", "exclusiveMinimum",
                                    "exclusiveMaximum"};
constexpr const char* kCounts[] = {"minLength",     "maxLength",     "minItems",    "maxItems",
                                   "minProperties", "maxProperties", "minContains", "maxContains"};
constexpr const char* kOthers[] = {"type",        "enum",     "const", "pattern",
                                   "uniqueItems", "required", "$ref",  "dependentRequired"};
constexpr const char* kAnnotations[] = {
    "title",    "description",     "default",          "examples",     "deprecated",
    "readOnly", "writeOnly",       "$schema",          "$comment",     "format",
    "strict",   "contentEncoding", "contentMediaType", "contentSchema"};

template <size_t N>
bool IsIn(const char* const (&words)[N], const std::string& word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

// Checks every keyword of a document's schema, and compiles its patterns.
class SchemaCheck {
 public:
  explicit SchemaCheck(SchemaDocument* document) : document_(document) {}

  // The schema at `where` and all below it.
  absl::Status Check(const json& schema, const std::string& where);

 private:
  absl::Status CheckKeyword(const std::string& keyword, const json& value,
                            const std::string& where);
  absl::Status AddPattern(const std::string& expression, const std::string& where);

  SchemaDocument* const document_;
};

absl::Status BadSchema(const std::string& where, const char* must) {
  return absl::InvalidArgumentError(absl::StrCat("schema at ", where, " must be ", must));
}

bool IsTextList(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
}

absl::Status SchemaCheck::AddPattern(const std::string& expression, const std::string& where) {
  if (document_->patterns.count(expression) > 0) return absl::OkStatus();
  auto pattern = Pattern::Compile(expression);
  if (!pattern.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema at ", where, ": ", pattern.status().message()));
  }
  document_->patterns.emplace(expression, *std::move(pattern));
  return absl::OkStatus();
}

absl::Status SchemaCheck::CheckKeyword(const std::string& keyword, const json& value,
                                       const std::string& where) {
  if (IsIn(kOneSchema, keyword)) return Check(value, where);
  if (IsIn(kSchemaLists, keyword)) {
    if (!value.is_array() || value.empty()) return BadSchema(where, "a list of schemas");
    for (size_t i = 0; i < value.size(); ++i) {
      RETURN_IF_ERROR(Check(value[i], absl::StrCat(where, "/", i)));
    }
    return absl::OkStatus();
  }
  if (IsIn(kSchemaMaps, keyword)) {
    if (!value.is_object()) return BadSchema(where, "an object of schemas");
    for (const auto& [name, schema] : value.items()) {
      if (keyword == "patternProperties") RETURN_IF_ERROR(AddPattern(name, where));
      RETURN_IF_ERROR(Check(schema, absl::StrCat(where, "/", name)));
    }
    return absl::OkStatus();
  }
  if (IsIn(kNumbers, keyword)) {
    const bool fits = value.is_number() && (keyword != "multipleOf" || value.get<double>() > 0);
    return fits ? absl::OkStatus() : BadSchema(where, "a number (multipleOf: above 0)");
  }
  if (IsIn(kCounts, keyword)) {
    const bool fits = value.is_number() && value.get<double>() >= 0;
    return fits ? absl::OkStatus() : BadSchema(where, "a number of at least 0");
  }
  if (keyword == "$ref") {
    if (!value.is_string()) return BadSchema(where, "a text");
    return document_->Resolve(value.get<std::string>()).status();
  }
  if (keyword == "pattern") {
    if (!value.is_string()) return BadSchema(where, "a text");
    return AddPattern(value.get<std::string>(), where);
  }
  if (keyword == "type") {
    const bool fits = value.is_string() || (IsTextList(value) && !value.empty());
    return fits ? absl::OkStatus() : BadSchema(where, "a type or a list of types");
  }
  if (keyword == "enum") {
    return value.is_array() ? absl::OkStatus() : BadSchema(where, "a list");
  }
  if (keyword == "required") {
    return IsTextList(value) ? absl::OkStatus() : BadSchema(where, "a list of texts");
  }
  if (keyword == "uniqueItems") {
    return value.is_boolean() ? absl::OkStatus() : BadSchema(where, "true or false");
  }
  if (keyword == "dependentRequired") {
    const bool fits = value.is_object() && std::all_of(value.begin(), value.end(), IsTextList);
    return fits ? absl::OkStatus() : BadSchema(where, "an object of lists of texts");
  }
  return absl::OkStatus();
}

absl::Status SchemaCheck::Check(const json& schema, const std::string& where) {
  if (schema.is_boolean()) return absl::OkStatus();
  if (!schema.is_object()) return BadSchema(where, "an object, true or false");
  for (const auto& [keyword, value] : schema.items()) {
    const std::string place = absl::StrCat(where, "/", keyword);
    // An $id further down would give the references below it another root.
    const bool known = (keyword == "$id" && where == "#") || IsIn(kOneSchema, keyword) ||
                       IsIn(kSchemaLists, keyword) || IsIn(kSchemaMaps, keyword) ||
                       IsIn(kNumbers, keyword) || IsIn(kCounts, keyword) ||
                       IsIn(kOthers, keyword) || IsIn(kAnnotations, keyword);
    if (!known) {
      return absl::UnimplementedError(absl::StrCat("the keyword at ", place, " is not known here"));
    }
    RETURN_IF_ERROR(CheckKeyword(keyword, value, place));
  }
  return absl::OkStatus();
}

}  // namespace

JsonSchema::JsonSchema(std::unique_ptr<SchemaDocument> document) : document_(std::move(document)) {}
JsonSchema::JsonSchema(JsonSchema&&) noexcept = default;
JsonSchema& JsonSchema::operator=(JsonSchema&&) noexcept = default;
JsonSchema::~JsonSchema() = default;

absl::StatusOr<JsonSchema> JsonSchema::Compile(const json& schema) {
  auto document = std::make_unique<SchemaDocument>();
  document->root = schema;
  RETURN_IF_ERROR(SchemaCheck(document.get()).Check(document->root, "#"));
  return JsonSchema(std::move(document));
}

absl::Status JsonSchema::Validate(const json& value) const {
  return eval::Validate(*document_, value);
}

}  // namespace quartet::cli::eval
