#include "cli/eval/schema_document.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::cli::eval {
namespace {

using nlohmann::json;

// Deeper nesting of schemas in one value is a reference that runs in circles.
constexpr int kMaxDepth = 256;

bool IsType(const json& value, const std::string& type) {
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  }
  return (type == "null" && value.is_null()) || (type == "boolean" && value.is_boolean()) ||
         (type == "number" && value.is_number()) || (type == "string" && value.is_string()) ||
         (type == "array" && value.is_array()) || (type == "object" && value.is_object());
}

size_t NumCharacters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool IsMultiple(double value, double divisor) {
  const double quotient = value / divisor;
  // 0.3 is a multiple of 0.1, whatever binary fractions say.
  return std::abs(quotient - std::round(quotient)) <= 1e-9 * std::max(1.0, std::abs(quotient));
}

absl::Status Misfit(const std::string& at, const std::string& keyword) {
  return absl::InvalidArgumentError(
      absl::StrCat(at.empty() ? "the value" : at, " does not fit '", keyword, "'"));
}

// The count that `keyword` demands, if the schema has it.
bool CountIs(const json& schema, const char* keyword, const std::function<bool(double)>& fits) {
  const auto found = schema.find(keyword);
  return found == schema.end() || fits(found->get<double>());
}

class Validator {
 public:
  explicit Validator(const SchemaDocument& document) : document_(document) {}

  // `at`: where `value` stands in the whole value, as a JSON pointer.
  absl::Status Validate(const json& schema, const json& value, const std::string& at,
                        int depth) const;

 private:
  absl::Status ValidateGeneral(const json& schema, const json& value, const std::string& at) const;
  absl::Status ValidateCombined(const json& schema, const json& value, const std::string& at,
                                int depth) const;
  absl::Status ValidateNumber(const json& schema, const json& value, const std::string& at) const;
  absl::Status ValidateString(const json& schema, const json& value, const std::string& at) const;
  absl::Status ValidateArray(const json& schema, const json& value, const std::string& at,
                             int depth) const;
  absl::Status ValidateObject(const json& schema, const json& value, const std::string& at,
                              int depth) const;

  const SchemaDocument& document_;
};

absl::Status Validator::Validate(const json& schema, const json& value, const std::string& at,
                                 int depth) const {
  if (schema.is_boolean()) return schema.get<bool>() ? absl::OkStatus() : Misfit(at, "false");
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat(at, ": the schema refers to itself without end"));
  }
  RETURN_IF_ERROR(ValidateGeneral(schema, value, at));
  RETURN_IF_ERROR(ValidateCombined(schema, value, at, depth));
  if (value.is_number()) return ValidateNumber(schema, value, at);
  if (value.is_string()) return ValidateString(schema, value, at);
  if (value.is_array()) return ValidateArray(schema, value, at, depth);
  if (value.is_object()) return ValidateObject(schema, value, at, depth);
  return absl::OkStatus();
}

absl::Status Validator::ValidateGeneral(const json& schema, const json& value,
                                        const std::string& at) const {
  if (const auto type = schema.find("type"); type != schema.end()) {
    const bool fits = type->is_string()
                          ? IsType(value, type->get_ref<const std::string&>())
                          : std::any_of(type->begin(), type->end(), [&value](const json& one) {
                              return IsType(value, one.get_ref<const std::string&>());
                            });
    if (!fits) return Misfit(at, absl::StrCat("type: ", type->dump()));
  }
  if (const auto list = schema.find("enum"); list != schema.end()) {
    if (std::find(list->begin(), list->end(), value) == list->end()) return Misfit(at, "enum");
  }
  if (const auto only = schema.find("const"); only != schema.end() && *only != value) {
    return Misfit(at, "const");
  }
  return absl::OkStatus();
}

absl::Status Validator::ValidateCombined(const json& schema, const json& value,
                                         const std::string& at, int depth) const {
  const auto fits = [&](const json& one) { return Validate(one, value, at, depth + 1).ok(); };
  if (const auto it = schema.find("$ref"); it != schema.end()) {
    ASSIGN_OR_RETURN(const json* const target, document_.Resolve(it->get<std::string>()));
    RETURN_IF_ERROR(Validate(*target, value, at, depth + 1));
  }
  if (const auto it = schema.find("allOf"); it != schema.end()) {
    for (const json& one : *it) RETURN_IF_ERROR(Validate(one, value, at, depth + 1));
  }
  if (const auto it = schema.find("anyOf"); it != schema.end()) {
    if (std::none_of(it->begin(), it->end(), fits)) return Misfit(at, "anyOf");
  }
  if (const auto it = schema.find("oneOf"); it != schema.end()) {
    if (std::count_if(it->begin(), it->end(), fits) != 1) return Misfit(at, "oneOf");
  }
  if (const auto it = schema.find("not"); it != schema.end() && fits(*it)) {
    return Misfit(at, "not");
  }
  if (const auto it = schema.find("if"); it != schema.end()) {
    const auto branch = schema.find(fits(*it) ? "then" : "else");
    if (branch != schema.end()) RETURN_IF_ERROR(Validate(*branch, value, at, depth + 1));
  }
  return absl::OkStatus();
}

absl::Status Validator::ValidateNumber(const json& schema, const json& value,
                                       const std::string& at) const {
  // The library compares integers with each other exactly.
  const auto holds = [&](const char* keyword, const std::function<bool(const json&)>& fits) {
    const auto bound = schema.find(keyword);
    return bound == schema.end() || fits(*bound) ? absl::OkStatus() : Misfit(at, keyword);
  };
  RETURN_IF_ERROR(holds("minimum", [&](const json& bound) { return value >= bound; }));
  RETURN_IF_ERROR(holds("maximum", [&](const json& bound) { return value <= bound; }));
  RETURN_IF_ERROR(holds("exclusiveMinimum", [&](const json& bound) { return value > bound; }));
  RETURN_IF_ERROR(holds("exclusiveMaximum", [&](const json& bound) { return value < bound; }));
  return holds("multipleOf", [&](const json& bound) {
    return IsMultiple(value.get<double>(), bound.get<double>());
  });
}

absl::Status Validator::ValidateString(const json& schema, const json& value,
                                       const std::string& at) const {
  const std::string& text = value.get_ref<const std::string&>();
  const double length = static_cast<double>(NumCharacters(text));
  if (!CountIs(schema, "minLength", [&](double n) { return length >= n; })) {
    return Misfit(at, "minLength");
  }
  if (!CountIs(schema, "maxLength", [&](double n) { return length <= n; })) {
    return Misfit(at, "maxLength");
  }
  if (const auto it = schema.find("pattern"); it != schema.end()) {
    if (!document_.patterns.at(it->get<std::string>()).Matches(text)) return Misfit(at, "pattern");
  }
  return absl::OkStatus();
}

absl::Status Validator::ValidateArray(const json& schema, const json& value, const std::string& at,
                                      int depth) const {
  const double size = static_cast<double>(value.size());
  if (!CountIs(schema, "minItems", [&](double n) { return size >= n; })) {
    return Misfit(at, "minItems");
  }
  if (!CountIs(schema, "maxItems", [&](double n) { return size <= n; })) {
    return Misfit(at, "maxItems");
  }
  size_t num_prefix = 0;
  if (const auto prefix = schema.find("prefixItems"); prefix != schema.end()) {
    num_prefix = std::min(prefix->size(), value.size());
    for (size_t i = 0; i < num_prefix; ++i) {
      RETURN_IF_ERROR(Validate((*prefix)[i], value[i], absl::StrCat(at, "/", i), depth + 1));
    }
  }
  if (const auto items = schema.find("items"); items != schema.end()) {
    for (size_t i = num_prefix; i < value.size(); ++i) {
      RETURN_IF_ERROR(Validate(*items, value[i], absl::StrCat(at, "/", i), depth + 1));
    }
  }
  if (const auto contains = schema.find("contains"); contains != schema.end()) {
    const double found =
        static_cast<double>(std::count_if(value.begin(), value.end(), [&](const json& item) {
          return Validate(*contains, item, at, depth + 1).ok();
        }));
    if (found < schema.value("minContains", 1.0)) return Misfit(at, "contains");
    if (!CountIs(schema, "maxContains", [&](double n) { return found <= n; })) {
      return Misfit(at, "maxContains");
    }
  }
  if (schema.value("uniqueItems", false)) {
    std::vector<json> sorted(value.begin(), value.end());
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      return Misfit(at, "uniqueItems");
    }
  }
  return absl::OkStatus();
}

absl::Status Validator::ValidateObject(const json& schema, const json& value, const std::string& at,
                                       int depth) const {
  const double size = static_cast<double>(value.size());
  if (!CountIs(schema, "minProperties", [&](double n) { return size >= n; })) {
    return Misfit(at, "minProperties");
  }
  if (!CountIs(schema, "maxProperties", [&](double n) { return size <= n; })) {
    return Misfit(at, "maxProperties");
  }
  const json none = json::object();
  const auto part = [&](const char* keyword) -> const json& {
    const auto it = schema.find(keyword);
    return it == schema.end() ? none : *it;
  };
  const auto require = [&](const json& names, const char* keyword) {
    for (const json& name : names) {
      if (!value.contains(name.get_ref<const std::string&>())) {
        return Misfit(at, absl::StrCat(keyword, ": ", name.dump()));
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(require(part("required"), "required"));
  for (const auto& [name, names] : part("dependentRequired").items()) {
    if (value.contains(name)) RETURN_IF_ERROR(require(names, "dependentRequired"));
  }
  for (const auto& [name, dependent] : part("dependentSchemas").items()) {
    if (value.contains(name)) RETURN_IF_ERROR(Validate(dependent, value, at, depth + 1));
  }
  const json& properties = part("properties");
  for (const auto& [name, member] : value.items()) {
    const std::string place = absl::StrCat(at, "/", name);
    bool is_additional = true;
    if (const auto it = properties.find(name); it != properties.end()) {
      is_additional = false;
      RETURN_IF_ERROR(Validate(*it, member, place, depth + 1));
    }
    for (const auto& [expression, one] : part("patternProperties").items()) {
      if (!document_.patterns.at(expression).Matches(name)) continue;
      is_additional = false;
      RETURN_IF_ERROR(Validate(one, member, place, depth + 1));
    }
    if (const auto it = schema.find("additionalProperties"); is_additional && it != schema.end()) {
      RETURN_IF_ERROR(Validate(*it, member, place, depth + 1));
    }
    if (const auto it = schema.find("propertyNames"); it != schema.end()) {
      RETURN_IF_ERROR(Validate(*it, json(name), place, depth + 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const json*> SchemaDocument::Resolve(const std::string& reference) const {
  if (reference.empty() || reference[0] != '#') {
    return absl::UnimplementedError(
        absl::StrCat("$ref '", reference, "' points into another document"));
  }
  std::string path;  // with %XX decoded
  for (size_t i = 1; i < reference.size(); ++i) {
    uint32_t code = 0;
    if (reference[i] == '%' && i + 2 < reference.size() &&
        absl::SimpleHexAtoi(reference.substr(i + 1, 2), &code)) {
      path += static_cast<char>(code);
      i += 2;
    } else {
      path += reference[i];
    }
  }
  if (!path.empty() && path[0] != '/') {
    return absl::UnimplementedError(absl::StrCat("$ref '", reference, "' names an $anchor"));
  }
  // A malformed pointer makes the library throw; it has no other way to say so.
  try {
    const json::json_pointer pointer(path);
    if (root.contains(pointer)) {
      const json& target = root.at(pointer);
      if (target.is_object() || target.is_boolean()) return &target;
    }
  } catch (const json::exception&) {
  }
  return absl::InvalidArgumentError(absl::StrCat("$ref '", reference, "' leads to no schema"));
}

absl::Status Validate(const SchemaDocument& document, const json& value) {
  return Validator(document).Validate(document.root, value, "", 0);
}

}  // namespace quartet::cli::eval
