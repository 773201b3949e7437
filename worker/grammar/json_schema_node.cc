#include "worker/grammar/json_schema_node.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"

namespace quartet::grammar {
namespace {

constexpr int kMaxReferences = 32;  // that name each other in a row
constexpr int kMaxCombineDepth = 32;

// Keywords that constrain values and that no grammar here can honour.
const absl::flat_hash_set<absl::string_view>& RefusedKeywords() {
  static const auto* const kKeywords = new absl::flat_hash_set<absl::string_view>{
      "not",          "if",          "then",          "else",
      "contains",     "minContains", "maxContains",   "dependentRequired",
      "dependencies", "$dynamicRef", "$recursiveRef", "dependentSchemas",
      "disallow",     "extends",     "divisibleBy",   "additionalItems"};
  return *kKeywords;
}

const absl::flat_hash_set<absl::string_view>& HonouredKeywords() {
  static const auto* const kKeywords = new absl::flat_hash_set<absl::string_view>{
      "$ref",          "const",           "enum",          "anyOf",
      "oneOf",         "allOf",           "type",          "properties",
      "required",      "items",           "prefixItems",   "additionalProperties",
      "minItems",      "maxItems",        "uniqueItems",   "unevaluatedProperties",
      "pattern",       "minLength",       "maxLength",     "unevaluatedItems",
      "minimum",       "maximum",         "format",        "patternProperties",
      "multipleOf",    "propertyNames",   "minProperties", "exclusiveMinimum",
      "maxProperties", "exclusiveMaximum"};
  return *kKeywords;
}

bool HasAny(const Schema& schema, std::initializer_list<const char*> keywords) {
  return std::any_of(keywords.begin(), keywords.end(),
                     [&](const char* keyword) { return schema.contains(keyword); });
}

// Which values an object or array may hold beside those named depends on what else the same schema
// names, so these keywords mean something else once two schemas are one.
bool ClosesObject(const Schema& schema) {
  return HasAny(schema, {"additionalProperties", "unevaluatedProperties", "patternProperties",
                         "propertyNames"});
}
bool SpeaksOfProperties(const Schema& schema) {
  return ClosesObject(schema) || schema.contains("properties");
}
bool SpeaksOfItems(const Schema& schema) {
  return HasAny(schema, {"items", "prefixItems", "unevaluatedItems"});
}

absl::StatusOr<unsigned> TypeNamed(const std::string& name, absl::string_view path) {
  constexpr std::pair<const char*, unsigned> kTypes[] = {
      {"null", kNullType},     {"boolean", kBooleanType}, {"object", kObjectType},
      {"array", kArrayType},   {"string", kStringType},   {"integer", kIntegerType},
      {"number", kNumberType},
  };
  for (const auto& [known, bits] : kTypes) {
    if (name == known) return bits;
  }
  return SchemaError(path, absl::StrCat("type \"", name, "\" is unknown"));
}

Schema TypeList(unsigned types) {
  Schema list = Schema::array();
  if (types & kNullType) list.push_back("null");
  if (types & kBooleanType) list.push_back("boolean");
  if (types & kObjectType) list.push_back("object");
  if (types & kArrayType) list.push_back("array");
  if (types & kStringType) list.push_back("string");
  if (types & kFractionType) {
    list.push_back("number");
  } else if (types & kIntegerType) {
    list.push_back("integer");
  }
  return list;
}

// Values of "const" or "enum"; false if there are neither.
bool FiniteValues(const Schema& schema, std::vector<Schema>* values) {
  if (schema.contains("const")) {
    values->push_back(schema["const"]);
    return true;
  }
  if (!schema.contains("enum") || !schema["enum"].is_array()) return false;
  values->assign(schema["enum"].begin(), schema["enum"].end());
  return true;
}

// Whether they are the same JSON value; the order of members doesn't matter.
bool AreEqual(const Schema& a, const Schema& b) {
  if (a.is_object() && b.is_object()) {
    return a.size() == b.size() && std::all_of(a.items().begin(), a.items().end(), [&](auto item) {
             return b.contains(item.key()) && AreEqual(item.value(), b[item.key()]);
           });
  }
  if (a.is_array() && b.is_array()) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), AreEqual);
  }
  return a == b;
}

bool Contains(const std::vector<Schema>& values, const Schema& value) {
  return std::any_of(values.begin(), values.end(),
                     [&](const Schema& other) { return AreEqual(value, other); });
}

bool Requires(const Schema& schema, const std::string& name) {
  if (!schema.contains("required") || !schema["required"].is_array()) return false;
  return std::find(schema["required"].begin(), schema["required"].end(), name) !=
         schema["required"].end();
}

// One keyword that both schemas have, with different values.
absl::StatusOr<Schema> CombineKeyword(const Schema& root, const std::string& keyword,
                                      const Schema& a, const Schema& b, absl::string_view path,
                                      int depth) {
  const bool wants_larger = absl::StartsWith(keyword, "min") || keyword == "exclusiveMinimum";
  const bool wants_smaller = absl::StartsWith(keyword, "max") || keyword == "exclusiveMaximum";
  if (a.is_number() && b.is_number() && (wants_larger || wants_smaller)) {
    return (a < b) == wants_larger ? b : a;
  }
  if (keyword == "required" && a.is_array() && b.is_array()) {
    Schema both = a;
    for (const Schema& name : b) {
      if (std::find(both.begin(), both.end(), name) == both.end()) both.push_back(name);
    }
    return both;
  }
  if (keyword == "properties" && a.is_object() && b.is_object()) {
    Schema both = a;
    for (const auto& [name, schema] : b.items()) {
      if (!both.contains(name)) {
        both[name] = schema;
        continue;
      }
      ASSIGN_OR_RETURN(both[name], Combine(root, both[name], schema,
                                           absl::StrCat(path, "/properties/", name), depth + 1));
    }
    return both;
  }
  if (keyword == "enum" && a.is_array() && b.is_array()) {
    Schema both = Schema::array();
    const std::vector<Schema> others(b.begin(), b.end());
    for (const Schema& value : a) {
      if (Contains(others, value)) both.push_back(value);
    }
    return both;
  }
  return SchemaError(path, absl::StrCat("two schemas that must hold at once both have \"", keyword,
                                        "\", with different values; write one schema instead"));
}

}  // namespace

absl::Status SchemaError(absl::string_view path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("at ", path, ": ", what));
}

bool IsAnnotation(absl::string_view keyword) {
  return !HonouredKeywords().contains(keyword) && !RefusedKeywords().contains(keyword);
}

absl::Status CheckKeywords(const Schema& schema, absl::string_view path) {
  for (const auto& [keyword, value] : schema.items()) {
    const bool is_nested_id = keyword == "$id" && path != "#" && value.is_string();
    if (RefusedKeywords().contains(keyword) || is_nested_id) {
      return absl::InvalidArgumentError(
          absl::StrCat("keyword \"", keyword, "\" at ", path, " is not supported; leave it out"));
    }
  }
  return absl::OkStatus();
}

unsigned TypeOfValue(const Schema& value) {
  if (value.is_null()) return kNullType;
  if (value.is_boolean()) return kBooleanType;
  if (value.is_object()) return kObjectType;
  if (value.is_array()) return kArrayType;
  if (value.is_string()) return kStringType;
  if (value.is_number_integer()) return kIntegerType;
  const double number = value.get<double>();
  return number == static_cast<double>(static_cast<int64_t>(std::clamp(number, -9e18, 9e18)))
             ? kIntegerType
             : kFractionType;
}

absl::StatusOr<unsigned> TypesOf(const Schema& schema, absl::string_view path) {
  if (schema.contains("type")) {
    const Schema& type = schema["type"];
    if (type.is_string()) return TypeNamed(type.get<std::string>(), path);
    unsigned types = 0;
    if (!type.is_array() || type.empty()) {
      return SchemaError(path, "type must be a name or a list of names");
    }
    for (const Schema& name : type) {
      if (!name.is_string()) return SchemaError(path, "type must be a name or a list of names");
      ASSIGN_OR_RETURN(const unsigned bits, TypeNamed(name.get<std::string>(), path));
      types |= bits;
    }
    return types;
  }
  unsigned types = 0;
  if (SpeaksOfProperties(schema) ||
      HasAny(schema, {"required", "minProperties", "maxProperties"})) {
    types |= kObjectType;
  }
  if (SpeaksOfItems(schema) || HasAny(schema, {"minItems", "maxItems", "uniqueItems"})) {
    types |= kArrayType;
  }
  if (HasAny(schema, {"pattern", "minLength", "maxLength", "format"})) types |= kStringType;
  if (HasAny(schema,
             {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) {
    types |= kNumberType;
  }
  return types == 0 ? kAllTypes : types;
}

absl::StatusOr<const Schema*> Lookup(const Schema& root, const std::string& reference,
                                     absl::string_view path) {
  if (reference.empty() || reference[0] != '#') {
    return absl::InvalidArgumentError(
        absl::StrCat("keyword \"$ref\" at ", path, " names ", reference,
                     ": only references inside the schema (#/...) are supported"));
  }
  std::string pointer;
  for (size_t i = 1; i < reference.size(); ++i) {
    if (reference[i] == '%' && i + 2 < reference.size() &&
        absl::ascii_isxdigit(static_cast<unsigned char>(reference[i + 1])) &&
        absl::ascii_isxdigit(static_cast<unsigned char>(reference[i + 2]))) {
      pointer.push_back(static_cast<char>(std::stoi(reference.substr(i + 1, 2), nullptr, 16)));
      i += 2;
    } else {
      pointer.push_back(reference[i]);
    }
  }
  const absl::Status missing =
      SchemaError(path, absl::StrCat("$ref names ", reference, ", which the schema doesn't have"));
  const Schema* at = &root;
  if (pointer.empty()) return at;
  if (pointer[0] != '/') return missing;
  size_t start = 1;
  while (true) {
    const size_t end = std::min(pointer.find('/', start), pointer.size());
    const std::string part = absl::StrReplaceAll(
        absl::StrReplaceAll(pointer.substr(start, end - start), {{"~1", "/"}}), {{"~0", "~"}});
    if (at->is_object() && at->contains(part)) {
      at = &(*at)[part];
    } else if (size_t index = 0;
               at->is_array() && absl::SimpleAtoi(part, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return missing;
    }
    if (end == pointer.size()) return at;
    start = end + 1;
  }
}

absl::StatusOr<Schema> Dereference(const Schema& root, const Schema& schema,
                                   absl::string_view path) {
  Schema result = schema;
  for (int i = 0; result.is_object() && result.contains("$ref"); ++i) {
    if (!result["$ref"].is_string()) return SchemaError(path, "$ref must be a text");
    if (i == kMaxReferences) {
      return SchemaError(path, "references name each other without end, or too many in a row");
    }
    ASSIGN_OR_RETURN(const Schema* target, Lookup(root, result["$ref"].get<std::string>(), path));
    Schema rest = result;
    rest.erase("$ref");
    ASSIGN_OR_RETURN(result, Combine(root, *target, std::move(rest), path));
  }
  return result;
}

absl::StatusOr<Schema> Combine(const Schema& root, Schema a, Schema b, absl::string_view path,
                               int depth) {
  if (depth > kMaxCombineDepth) {
    return SchemaError(path, "schemas that must hold at once are nested too deeply");
  }
  for (const auto* one : {&a, &b}) {
    if (one->is_boolean()) {
      if (!one->get<bool>()) return Schema(false);
      return one == &a ? b : a;
    }
    if (!one->is_object()) return SchemaError(path, "a schema must be an object or a boolean");
  }
  const auto says_something = [](const Schema& schema) {
    return std::any_of(schema.items().begin(), schema.items().end(),
                       [](const auto& item) { return !IsAnnotation(item.key()); });
  };
  if (!says_something(b)) return a;
  if (!says_something(a)) return b;
  if (a.contains("$ref") || b.contains("$ref")) {
    Schema& with = a.contains("$ref") ? a : b;
    if (!with["$ref"].is_string()) return SchemaError(path, "$ref must be a text");
    ASSIGN_OR_RETURN(const Schema* target, Lookup(root, with["$ref"].get<std::string>(), path));
    with.erase("$ref");
    ASSIGN_OR_RETURN(Schema resolved, Combine(root, *target, with, path, depth + 1));
    with = std::move(resolved);
    return Combine(root, std::move(a), std::move(b), path, depth + 1);
  }
  RETURN_IF_ERROR(CheckKeywords(a, path));
  RETURN_IF_ERROR(CheckKeywords(b, path));
  if ((ClosesObject(a) && SpeaksOfProperties(b)) || (ClosesObject(b) && SpeaksOfProperties(a)) ||
      (SpeaksOfItems(a) && SpeaksOfItems(b))) {
    if (a == b) return a;
    return SchemaError(path,
                       "two schemas that must hold at once both speak of properties or items, and "
                       "one says which others there may be; write one schema instead");
  }
  const bool has_type = a.contains("type") || b.contains("type");
  ASSIGN_OR_RETURN(const unsigned types_a, TypesOf(a, path));
  ASSIGN_OR_RETURN(const unsigned types_b, TypesOf(b, path));
  Schema result = a;
  result.erase("type");
  for (const auto& [keyword, value] : b.items()) {
    if (keyword == "type") continue;
    if (!result.contains(keyword) || IsAnnotation(keyword)) {
      if (!result.contains(keyword)) result[keyword] = value;
      continue;
    }
    if (result[keyword] == value && keyword != "anyOf" && keyword != "oneOf") continue;
    ASSIGN_OR_RETURN(result[keyword],
                     CombineKeyword(root, keyword, result[keyword], value, path, depth));
  }
  if (has_type) {
    if ((types_a & types_b) == 0) return Schema(false);
    result["type"] = TypeList(types_a & types_b);
  }
  return result;
}

bool AreDisjoint(const Schema& root, const Schema& a_given, const Schema& b_given, int depth) {
  constexpr int kMaxDepth = 4;
  if (depth > kMaxDepth) return false;
  const auto a = Dereference(root, a_given, "#");
  const auto b = Dereference(root, b_given, "#");
  if (!a.ok() || !b.ok()) return false;
  if (*a == Schema(false) || *b == Schema(false)) return true;
  if (!a->is_object() || !b->is_object()) return false;
  std::vector<Schema> values_a;
  std::vector<Schema> values_b;
  const bool a_is_finite = FiniteValues(*a, &values_a);
  const bool b_is_finite = FiniteValues(*b, &values_b);
  if (a_is_finite && b_is_finite) {
    return std::none_of(values_a.begin(), values_a.end(),
                        [&](const Schema& value) { return Contains(values_b, value); });
  }
  // Without "type" a schema says nothing of the types that its keywords don't speak of.
  const auto types_of = [](const Schema& schema, bool is_finite,
                           const std::vector<Schema>& values) {
    unsigned types = 0;
    if (is_finite) {
      for (const Schema& value : values) types |= TypeOfValue(value);
      return types;
    }
    const auto named = schema.contains("type") ? TypesOf(schema, "#") : kAllTypes;
    return named.value_or(kAllTypes);
  };
  const unsigned types_a = types_of(*a, a_is_finite, values_a);
  const unsigned types_b = types_of(*b, b_is_finite, values_b);
  if ((types_a & types_b) == 0) return true;
  if ((types_a & types_b) != kObjectType || a_is_finite || b_is_finite) return false;
  if (!a->contains("properties") || !b->contains("properties")) return false;
  for (const auto& [name, schema] : (*a)["properties"].items()) {
    if (!(*b)["properties"].contains(name) || !Requires(*a, name) || !Requires(*b, name)) continue;
    if (AreDisjoint(root, schema, (*b)["properties"][name], depth + 1)) return true;
  }
  return false;
}

}  // namespace quartet::grammar
