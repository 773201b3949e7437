#include "worker/grammar/json_schema_grammar.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/grammar/json_schema_writer.h"
#include "worker/grammar/regex_grammar.h"

namespace quartet::grammar {
namespace {

constexpr int kMaxDepth = 64;       // of schemas inside schemas
constexpr int kMaxJsonDepth = 256;  // of brackets in the text
constexpr size_t kMaxGrammarBytes = size_t{1} << 20;
constexpr int kMaxRules = 20'000;
constexpr size_t kMaxOneOf = 64;

std::string Join(const std::vector<std::string>& alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  return absl::StrCat("(", absl::StrJoin(alternatives, " | "), ")");
}

// Whether there is more than annotations and the named keywords.
bool HasOthers(const Schema& schema, std::initializer_list<absl::string_view> known) {
  for (const auto& item : schema.items()) {
    const absl::string_view keyword = item.key();
    if (IsAnnotation(keyword)) continue;
    if (std::find(known.begin(), known.end(), keyword) == known.end()) return true;
  }
  return false;
}

}  // namespace

JsonSchemaWriter::JsonSchemaWriter(const Schema& root, const JsonGrammarOptions& options)
    : root_(root) {
  // A blank, or a new line and its indent: without a bound a model may go on for ever.
  white_space_ = options.compact ? "\"\"" : rules_.Add("ws", "\" \"? | \"\\n\" [ ]{0,40}");
  const std::string escape = rules_.Add(
      "escape",
      "[\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})");
  const std::string plain = R"([^"\\\U00000000-\U0000001f])";
  // Written as a tail that ends with the quote, which xgrammar's masks like best.
  const std::string tail = rules_.NewName("tail");
  rules_.Set(tail,
             absl::StrCat("\"\\\"\" | ", plain, " ", tail, " | \"\\\\\" ", escape, " ", tail));
  string_ = rules_.Add("string", absl::StrCat("\"\\\"\" ", tail));
  number_ = rules_.Add("number",
                       "\"-\"? (\"0\" | [1-9] [0-9]{0,14}) (\".\" [0-9]{1,16})? "
                       "([eE] [+\\-]? [0-9]{1,2})?");
  any_ = rules_.NewName("any");
  const std::string pair =
      absl::StrCat(string_, " ", white_space_, " \":\" ", white_space_, " ", any_);
  any_object_ = rules_.Add("object", absl::StrCat("\"{\" ", white_space_, " (", pair, " (", Comma(),
                                                  " ", pair, ")* ", white_space_, ")? \"}\""));
  any_array_ = rules_.Add("array", absl::StrCat("\"[\" ", white_space_, " (", any_, " (", Comma(),
                                                " ", any_, ")* ", white_space_, ")? \"]\""));
  rules_.Set(any_, absl::StrJoin({string_, number_, any_object_, any_array_,
                                  std::string("\"true\" | \"false\" | \"null\"")},
                                 " | "));
}

std::string JsonSchemaWriter::Comma() const {
  return absl::StrCat(white_space_, " \",\" ", white_space_);
}

absl::StatusOr<std::string> JsonSchemaWriter::Write() {
  ASSIGN_OR_RETURN(const Expression root, Value(root_, "#", 0));
  if (!root.has_value()) return SchemaError("#", "no JSON value fits this schema");
  return rules_.Text(*root);
}

absl::Status JsonSchemaWriter::CheckSize(const std::string& path) const {
  if (rules_.size_bytes() <= kMaxGrammarBytes && rules_.num_rules() <= kMaxRules) {
    return absl::OkStatus();
  }
  return SchemaError(path, absl::StrCat("the schema becomes a grammar of more than ", kMaxRules,
                                        " rules or ", kMaxGrammarBytes, " bytes; simplify it"));
}

absl::StatusOr<std::optional<int64_t>> JsonSchemaWriter::Count(const Schema& schema,
                                                               const char* keyword,
                                                               const std::string& path) const {
  if (!schema.contains(keyword)) return std::optional<int64_t>();
  const Schema& value = schema[keyword];
  if (!value.is_number() || TypeOfValue(value) != kIntegerType || value < 0) {
    return SchemaError(path, absl::StrCat("\"", keyword, "\" is ", value.dump(),
                                          ", must be an integer that isn't negative"));
  }
  return std::optional<int64_t>(static_cast<int64_t>(std::min(value.get<double>(), 1e15)));
}

absl::StatusOr<Expression> JsonSchemaWriter::Value(const Schema& schema, const std::string& path,
                                                   int depth) {
  if (depth > kMaxDepth) {
    return SchemaError(path, absl::StrCat("schemas are nested deeper than ", kMaxDepth,
                                          ", or contain themselves beside other keywords"));
  }
  RETURN_IF_ERROR(CheckSize(path));
  if (schema.is_boolean()) return schema.get<bool>() ? Expression(any_) : std::nullopt;
  if (!schema.is_object()) return SchemaError(path, "a schema must be an object or a boolean");
  RETURN_IF_ERROR(CheckKeywords(schema, path));
  if (schema.contains("$ref")) return Reference(schema, path, depth);
  if (schema.contains("allOf")) {
    if (!schema["allOf"].is_array() || schema["allOf"].empty()) {
      return SchemaError(path, "allOf must be a list of schemas");
    }
    Schema all = schema;
    all.erase("allOf");
    for (const Schema& part : schema["allOf"]) {
      ASSIGN_OR_RETURN(all, Combine(root_, std::move(all), part, absl::StrCat(path, "/allOf")));
    }
    return Value(all, path, depth + 1);
  }
  if (schema.contains("anyOf")) return Branches(schema, "anyOf", path, depth);
  if (schema.contains("oneOf")) return Branches(schema, "oneOf", path, depth);
  if (schema.contains("const") || schema.contains("enum")) return Constants(schema, path);
  return ByType(schema, path, depth);
}

absl::StatusOr<Expression> JsonSchemaWriter::Reference(const Schema& schema,
                                                       const std::string& path, int depth) {
  if (!schema["$ref"].is_string()) return SchemaError(path, "$ref must be a text");
  const std::string reference = schema["$ref"].get<std::string>();
  if (HasOthers(schema, {"$ref"})) {
    ASSIGN_OR_RETURN(const Schema whole, Dereference(root_, schema, path));
    return Value(whole, path, depth + 1);
  }
  if (const auto known = references_.find(reference); known != references_.end()) {
    return Expression(known->second);
  }
  // References that lead to nothing but each other would make a rule that matches nothing.
  RETURN_IF_ERROR(Dereference(root_, schema, path).status());
  ASSIGN_OR_RETURN(const Schema* target, Lookup(root_, reference, path));
  const std::string rule = rules_.NewName("ref");
  references_.emplace(reference, rule);
  ASSIGN_OR_RETURN(const Expression body, Value(*target, reference, depth + 1));
  if (!body.has_value()) {
    return SchemaError(path, absl::StrCat("no JSON value fits what $ref names, ", reference));
  }
  rules_.Set(rule, *body);
  return Expression(rule);
}

absl::StatusOr<Expression> JsonSchemaWriter::Constants(const Schema& schema,
                                                       const std::string& path) {
  const char* const keyword = schema.contains("const") ? "const" : "enum";
  if (HasOthers(schema, {keyword, "type"})) {
    return SchemaError(path, absl::StrCat("\"", keyword,
                                          "\" stands beside keywords other than \"type\", which "
                                          "is not supported; leave them out"));
  }
  Schema values = schema[keyword];
  if (keyword == absl::string_view("const")) values = Schema::array({schema["const"]});
  if (!values.is_array()) return SchemaError(path, "enum must be a list of values");
  unsigned types = kAllTypes;
  if (schema.contains("type")) {
    ASSIGN_OR_RETURN(types, TypesOf(schema, path));
  }
  std::vector<std::string> alternatives;
  for (const Schema& value : values) {
    if ((TypeOfValue(value) & types) != 0) alternatives.push_back(ConstantExpression(value));
  }
  if (alternatives.empty()) return Expression();
  if (alternatives.size() == 1) return Expression(alternatives[0]);
  return Expression(rules_.Add(keyword, absl::StrJoin(alternatives, " | ")));
}

absl::StatusOr<Expression> JsonSchemaWriter::Branches(const Schema& schema, const char* keyword,
                                                      const std::string& path, int depth) {
  const Schema& branches = schema[keyword];
  if (!branches.is_array() || branches.empty()) {
    return SchemaError(path, absl::StrCat(keyword, " must be a list of schemas"));
  }
  const bool is_exclusive = keyword == absl::string_view("oneOf");
  if (is_exclusive && branches.size() > kMaxOneOf) {
    return SchemaError(path, absl::StrCat("oneOf has more than ", kMaxOneOf, " schemas"));
  }
  const bool stands_alone = !HasOthers(schema, {keyword});
  Schema base = schema;
  base.erase(keyword);
  std::vector<Schema> whole;
  std::vector<std::string> alternatives;
  for (size_t i = 0; i < branches.size(); ++i) {
    const std::string branch_path = absl::StrCat(path, "/", keyword, "/", i);
    Schema branch = branches[i];
    if (!stands_alone) {
      ASSIGN_OR_RETURN(branch, Combine(root_, base, std::move(branch), branch_path));
    }
    ASSIGN_OR_RETURN(Expression expression, Value(branch, branch_path, depth + 1));
    if (expression.has_value()) alternatives.push_back(*std::move(expression));
    whole.push_back(std::move(branch));
  }
  for (size_t i = 0; is_exclusive && i < whole.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (AreDisjoint(root_, whole[j], whole[i])) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "keyword \"oneOf\" at ", path, " is not supported for schemas that a value may fit ",
          "several of (", j, " and ", i, "); use anyOf, or give them different types or a ",
          "required property with different constants"));
    }
  }
  if (alternatives.empty()) return Expression();
  return Expression(Join(alternatives));
}

absl::StatusOr<Expression> JsonSchemaWriter::ByType(const Schema& schema, const std::string& path,
                                                    int depth) {
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(schema, path));
  if (types == kAllTypes && !HasOthers(schema, {})) return Expression(any_);
  std::vector<std::string> alternatives;
  const auto add = [&](absl::StatusOr<Expression> one) -> absl::Status {
    if (one.ok() && one->has_value()) alternatives.push_back(**std::move(one));
    return one.status();
  };
  if (types & kNullType) alternatives.push_back("\"null\"");
  if (types & kBooleanType) alternatives.push_back("(\"true\" | \"false\")");
  if (types & kNumberType) {
    RETURN_IF_ERROR(add(Number(schema, (types & kFractionType) == 0, path)));
  }
  if (types & kStringType) RETURN_IF_ERROR(add(String(schema, path)));
  if (types & kArrayType) RETURN_IF_ERROR(add(ArrayValue(schema, path, depth)));
  if (types & kObjectType) RETURN_IF_ERROR(add(ObjectValue(schema, path, depth)));
  if (alternatives.empty()) return Expression();
  return Expression(Join(alternatives));
}

absl::StatusOr<Schema> ParseJson(absl::string_view text) {
  // The parser recurses nowhere, but what reads its result does.
  bool is_too_deep = false;
  const auto watch = [&](int depth, Schema::parse_event_t, Schema&) {
    is_too_deep = is_too_deep || depth > kMaxJsonDepth;
    return !is_too_deep;
  };
  Schema value;
  try {
    value = Schema::parse(text.begin(), text.end(), watch);
  } catch (const Schema::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", error.what()));
  }
  if (is_too_deep) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON is nested deeper than ", kMaxJsonDepth, " levels"));
  }
  return value;
}

absl::StatusOr<std::string> JsonSchemaToEbnf(const Schema& schema,
                                             const JsonGrammarOptions& options) {
  return JsonSchemaWriter(schema, options).Write();
}

absl::StatusOr<std::string> JsonSchemaTextToEbnf(absl::string_view schema,
                                                 const JsonGrammarOptions& options) {
  ASSIGN_OR_RETURN(const Schema parsed, ParseJson(schema));
  return JsonSchemaToEbnf(parsed, options);
}

}  // namespace quartet::grammar
