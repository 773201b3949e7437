// Objects and arrays of a JSON Schema.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/grammar/json_schema_writer.h"
#include "worker/grammar/regex_grammar.h"

namespace quartet::grammar {
namespace {

constexpr size_t kMaxProperties = 1000;  // of one object
constexpr size_t kMaxPrefixItems = 1000;

absl::Status NotSupported(absl::string_view keyword, absl::string_view path,
                          absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("keyword \"", keyword, "\" at ", path, " is not supported ", why));
}

// Names as a tree of their characters.
struct NameTree {
  std::map<uint32_t, NameTree> next;
  bool is_name = false;
};

// What spells a text that leads to no name from here.
std::string OtherThan(const NameTree& tree, const CharacterSet& plain, EbnfRules* rules) {
  std::vector<std::string> alternatives;
  if (!tree.is_name) alternatives.push_back("\"\"");
  CharacterSet others = plain;
  for (const auto& [character, subtree] : tree.next) {
    CharacterSet one;
    one.Add(character, character);
    others = others.Without(one);
    alternatives.push_back(
        absl::StrCat(ClassExpression(one), " ", OtherThan(subtree, plain, rules)));
  }
  alternatives.push_back(absl::StrCat(ClassExpression(others), " ", ClassExpression(plain), "*"));
  return rules->Add("name", absl::StrJoin(alternatives, " | "));
}

std::string Repeat(const std::string& what, int64_t min, std::optional<int64_t> max) {
  if (!max.has_value()) {
    return min == 0 ? absl::StrCat("(", what, ")*") : absl::StrCat("(", what, "){", min, ",}");
  }
  if (*max == 0) return "\"\"";
  return absl::StrCat("(", what, "){", min, ",", *max, "}");
}

}  // namespace

CharacterSet PlainCharacters() {
  CharacterSet escaped = CharacterSet::Of("\"\\");
  escaped.Add(0, 0x1f);
  return escaped.Complement();
}

std::string JsonSchemaWriter::OtherName(const std::vector<Property>& properties) {
  const CharacterSet plain = PlainCharacters();
  NameTree tree;
  bool is_any = true;
  for (const Property& property : properties) {
    std::vector<uint32_t> characters;
    DecodeUtf8(property.name, &characters);
    // Other names are spelled without escapes, so one that needs them is no other name.
    if (!std::all_of(characters.begin(), characters.end(),
                     [&](uint32_t c) { return plain.Contains(c); })) {
      continue;
    }
    is_any = false;
    NameTree* at = &tree;
    for (const uint32_t c : characters) at = &at->next[c];
    at->is_name = true;
  }
  if (is_any && properties.empty()) return string_;
  return absl::StrCat("\"\\\"\" ", OtherThan(tree, plain, &rules_), " \"\\\"\"");
}

absl::Status JsonSchemaWriter::ReadProperties(const Schema& schema, const std::string& path,
                                              int depth, Object* object) {
  Schema properties = Schema::object();
  if (schema.contains("properties")) properties = schema["properties"];
  if (!properties.is_object()) return SchemaError(path, "properties must be an object");
  std::vector<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array()) return SchemaError(path, "required must be a list");
    for (const Schema& name : schema["required"]) {
      if (!name.is_string()) return SchemaError(path, "required must be a list of names");
      required.push_back(name.get<std::string>());
    }
  }
  if (properties.size() + required.size() > kMaxProperties) {
    return SchemaError(path, absl::StrCat("more than ", kMaxProperties, " properties"));
  }
  const auto is_required = [&](const std::string& name) {
    return std::find(required.begin(), required.end(), name) != required.end();
  };
  for (const auto& [name, value] : properties.items()) {
    ASSIGN_OR_RETURN(Expression expression,
                     Value(value, absl::StrCat(path, "/properties/", name), depth + 1));
    object->properties.push_back({name, std::move(expression), is_required(name)});
  }
  // Required ones that "properties" doesn't name are what any other property may be.
  for (const std::string& name : required) {
    const bool is_known =
        std::any_of(object->properties.begin(), object->properties.end(),
                    [&](const Property& property) { return property.name == name; });
    if (is_known) continue;
    if (schema.contains("patternProperties") || schema.contains("propertyNames")) {
      return NotSupported("required", path,
                          absl::StrCat("for ", name, ", which \"properties\" doesn't name"));
    }
    Schema other = true;
    for (const char* keyword : {"unevaluatedProperties", "additionalProperties"}) {
      if (schema.contains(keyword)) other = schema[keyword];
    }
    ASSIGN_OR_RETURN(Expression expression,
                     Value(other, absl::StrCat(path, "/additionalProperties"), depth + 1));
    object->properties.push_back({name, std::move(expression), true});
  }
  return absl::OkStatus();
}

absl::Status JsonSchemaWriter::ReadExtras(const Schema& schema, const std::string& path, int depth,
                                          Object* object) {
  Schema value_schema = true;
  std::string keyword = "additionalProperties";
  for (const char* known : {"unevaluatedProperties", "additionalProperties"}) {
    if (!schema.contains(known)) continue;
    value_schema = schema[known];
    keyword = known;
  }
  std::string name;
  if (schema.contains("patternProperties")) {
    const Schema& patterns = schema["patternProperties"];
    if (!patterns.is_object()) return SchemaError(path, "patternProperties must be an object");
    if (patterns.size() > 1 || !object->properties.empty() || schema.contains("propertyNames")) {
      return NotSupported("patternProperties", path,
                          "with several patterns, or beside \"properties\" or \"propertyNames\"");
    }
    for (const auto& [pattern, pattern_schema] : patterns.items()) {
      const auto expression = RegexExpression(pattern, RegexContext::kJsonString);
      if (!expression.ok()) {
        return SchemaError(path, absl::StrCat("keyword \"patternProperties\" is not supported: ",
                                              expression.status().message()));
      }
      name = absl::StrCat("\"\\\"\" ", *expression, " \"\\\"\"");
      // Only names that match are written, so what the others may be is not asked.
      value_schema = pattern_schema;
      keyword = "patternProperties";
    }
  }
  if (schema.contains("propertyNames")) {
    if (!object->properties.empty()) {
      return NotSupported("propertyNames", path, "beside \"properties\" or \"required\"");
    }
    ASSIGN_OR_RETURN(Schema names,
                     Combine(root_, schema["propertyNames"], Schema{{"type", "string"}},
                             absl::StrCat(path, "/propertyNames")));
    ASSIGN_OR_RETURN(const Expression expression,
                     Value(names, absl::StrCat(path, "/propertyNames"), depth + 1));
    if (!expression.has_value()) return absl::OkStatus();
    name = rules_.Add("name", *expression);
  }
  ASSIGN_OR_RETURN(const Expression value,
                   Value(value_schema, absl::StrCat(path, "/", keyword), depth + 1));
  if (!value.has_value()) return absl::OkStatus();
  if (name.empty()) name = OtherName(object->properties);
  object->extra_pair = rules_.Add(
      "pair", absl::StrCat(name, " ", white_space_, " \":\" ", white_space_, " ", *value));
  return absl::OkStatus();
}

Expression JsonSchemaWriter::ExtraPairs(const Object& object, int64_t count) {
  const int64_t min = std::max<int64_t>(0, object.min - count);
  std::optional<int64_t> max;
  if (object.max.has_value()) max = *object.max - count;
  if (max.has_value() && *max < min) return std::nullopt;
  if (!object.extra_pair.has_value() || (max.has_value() && *max == 0)) {
    return min == 0 ? Expression("\"\"") : std::nullopt;
  }
  // Two of them may have the same name, and then count once.
  if (min > 1) return std::nullopt;
  const std::string more = absl::StrCat(Comma(), " ", *object.extra_pair);
  if (count > 0) return Repeat(more, min, max);
  if (max.has_value()) --*max;
  const std::string some = absl::StrCat(*object.extra_pair, " ", Repeat(more, 0, max));
  return min > 0 ? some : absl::StrCat("(", some, ")?");
}

Expression JsonSchemaWriter::ObjectTail(Object* object, size_t next, int64_t count) {
  // Beyond the bounds all counts are alike.
  count = std::min(count, std::max<int64_t>({object->min, object->max.value_or(0), 1}));
  const bool is_full = object->max.has_value() && count >= *object->max;
  if (next == object->properties.size()) return ExtraPairs(*object, count);
  const auto known = object->tails.find({next, count});
  if (known != object->tails.end()) return known->second;
  const Property& property = object->properties[next];
  std::vector<std::string> alternatives;
  if (property.value.has_value() && !is_full) {
    const Expression rest = ObjectTail(object, next + 1, count + 1);
    if (rest.has_value()) {
      alternatives.push_back(absl::StrCat(
          count > 0 ? Comma() + " " : "", LiteralExpression(Schema(property.name).dump()), " ",
          white_space_, " \":\" ", white_space_, " ", *property.value, " ", *rest));
    }
  }
  if (!property.is_required) {
    const Expression rest = ObjectTail(object, next + 1, count);
    if (rest.has_value()) alternatives.push_back(*rest);
  }
  Expression tail;
  if (!alternatives.empty()) tail = rules_.Add("tail", absl::StrJoin(alternatives, " | "));
  object->tails.emplace(std::pair(next, count), tail);
  return tail;
}

absl::StatusOr<Expression> JsonSchemaWriter::ObjectValue(const Schema& schema,
                                                         const std::string& path, int depth) {
  Object object;
  ASSIGN_OR_RETURN(const std::optional<int64_t> min, Count(schema, "minProperties", path));
  ASSIGN_OR_RETURN(object.max, Count(schema, "maxProperties", path));
  object.min = min.value_or(0);
  RETURN_IF_ERROR(ReadProperties(schema, path, depth, &object));
  RETURN_IF_ERROR(ReadExtras(schema, path, depth, &object));
  const int64_t counts =
      std::max(object.min, std::min<int64_t>(object.max.value_or(0), kMaxProperties));
  if (counts * static_cast<int64_t>(object.properties.size()) > 20'000) {
    return NotSupported("minProperties", path, "with so many properties");
  }
  const Expression inside = ObjectTail(&object, 0, 0);
  RETURN_IF_ERROR(CheckSize(path));
  if (!inside.has_value()) {
    if (object.min > 1) {
      return NotSupported("minProperties", path,
                          "above 1 with properties that the schema doesn't name");
    }
    return Expression();
  }
  // Blanks belong to the brace where there is nothing inside.
  return Expression(rules_.Add(
      "object", absl::StrCat("\"{\" ", white_space_, " ", *inside, " ", white_space_, " \"}\"")));
}

absl::StatusOr<Expression> JsonSchemaWriter::ArrayValue(const Schema& schema,
                                                        const std::string& path, int depth) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> min_items, Count(schema, "minItems", path));
  ASSIGN_OR_RETURN(std::optional<int64_t> max, Count(schema, "maxItems", path));
  const int64_t min = min_items.value_or(0);
  if (min > kMaxRegexRepetition) {
    return NotSupported("minItems", path, absl::StrCat("above ", kMaxRegexRepetition));
  }
  if (max.has_value()) max = std::min(*max, kMaxRegexRepetition);
  if (schema.contains("uniqueItems") && schema["uniqueItems"] != false) {
    if (!max.has_value() || *max > 1) {
      return NotSupported("uniqueItems", path, "unless it is false; leave it out");
    }
  }
  std::vector<std::string> prefix;
  RETURN_IF_ERROR(ReadPrefixItems(schema, path, depth, &prefix, &max));
  Schema rest_schema = true;
  std::string keyword = "items";
  for (const char* known : {"unevaluatedItems", "items"}) {
    if (!schema.contains(known)) continue;
    rest_schema = schema[known];
    keyword = known;
  }
  if (rest_schema.is_array()) {
    return NotSupported("items", path, "with a list (an older draft's form); use prefixItems");
  }
  ASSIGN_OR_RETURN(const Expression rest,
                   Value(rest_schema, absl::StrCat(path, "/", keyword), depth + 1));
  const int64_t num_prefix = static_cast<int64_t>(prefix.size());
  if (!rest.has_value()) max = std::min(max.value_or(num_prefix), num_prefix);
  if (max.has_value() && *max < min) return Expression();

  const std::string inside = ItemsTail(prefix, rest, min, max);
  return Expression(rules_.Add(
      "array", absl::StrCat("\"[\" ", white_space_, " ", inside, " ", white_space_, " \"]\"")));
}

// Of the items of "prefixItems", in order. One that no value fits ends the array before it.
absl::Status JsonSchemaWriter::ReadPrefixItems(const Schema& schema, const std::string& path,
                                               int depth, std::vector<std::string>* prefix,
                                               std::optional<int64_t>* max) {
  if (!schema.contains("prefixItems")) return absl::OkStatus();
  const Schema& items = schema["prefixItems"];
  if (!items.is_array() || items.size() > kMaxPrefixItems) {
    return SchemaError(
        path, absl::StrCat("prefixItems must be a list of at most ", kMaxPrefixItems, " schemas"));
  }
  for (const Schema& item : items) {
    const std::string item_path = absl::StrCat(path, "/prefixItems/", prefix->size());
    ASSIGN_OR_RETURN(Expression expression, Value(item, item_path, depth + 1));
    if (!expression.has_value()) {
      const auto num_before = static_cast<int64_t>(prefix->size());
      *max = std::min(max->value_or(kMaxRegexRepetition), num_before);
      break;
    }
    prefix->push_back(*std::move(expression));
  }
  return absl::OkStatus();
}

std::string JsonSchemaWriter::ItemsTail(const std::vector<std::string>& prefix,
                                        const Expression& rest, int64_t min,
                                        std::optional<int64_t> max) {
  const int64_t num_prefix = static_cast<int64_t>(prefix.size());
  // From the end: what may follow the first i items.
  std::string tail = "\"\"";
  const int64_t listed = std::min(num_prefix, max.value_or(num_prefix));
  if (rest.has_value() && listed == num_prefix) {
    std::optional<int64_t> more = max;
    if (more.has_value()) *more -= num_prefix;
    const int64_t least = std::max<int64_t>(0, min - num_prefix);
    if (num_prefix > 0) {
      tail = Repeat(absl::StrCat(Comma(), " ", *rest), least, more);
    } else if (!more.has_value() || *more > 0) {
      if (more.has_value()) --*more;
      tail = absl::StrCat(
          *rest, " ",
          Repeat(absl::StrCat(Comma(), " ", *rest), std::max<int64_t>(0, least - 1), more));
      if (least == 0) tail = absl::StrCat("(", tail, ")?");
    }
  }
  for (int64_t i = listed - 1; i >= 0; --i) {
    const std::string item =
        absl::StrCat(i > 0 ? Comma() + " " : "", prefix[static_cast<size_t>(i)], " ", tail);
    tail = rules_.Add("items", i < min ? item : absl::StrCat("\"\" | ", item));
  }
  return tail;
}

}  // namespace quartet::grammar
