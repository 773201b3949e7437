// Numbers, strings and constants of a JSON Schema.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/grammar/json_schema_writer.h"
#include "worker/grammar/number_grammar.h"
#include "worker/grammar/regex_grammar.h"
#include "worker/grammar/string_length.h"

namespace quartet::grammar {
namespace {

constexpr double kLargest = 999'999'999'999'999;  // kMaxIntegerDigits nines
constexpr int64_t kMaxListedMultiples = 2000;
constexpr int64_t kMaxFactor = 128;  // of an automaton with a state for each remainder

// Formats that are honoured; the others are annotations, as the standard has it.
absl::string_view FormatPattern(absl::string_view format) {
#define QUARTET_DATE                                                \
  "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|" \
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
#define QUARTET_TIME                                                                              \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-" \
  "5][0-9])"
#define QUARTET_LABEL "[a-z0-9]+(?:-[a-z0-9]+)*"
  constexpr std::pair<absl::string_view, absl::string_view> kPatterns[] = {
      {"date", QUARTET_DATE},
      {"time", QUARTET_TIME},
      {"date-time", QUARTET_DATE "T" QUARTET_TIME},
      {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
      {"ipv4",
       "(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}"
       "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"},
      {"email", "[a-z0-9_+-]+(?:\\.[a-z0-9_+-]+)*@" QUARTET_LABEL "(?:\\." QUARTET_LABEL ")+"},
  };
#undef QUARTET_DATE
#undef QUARTET_TIME
#undef QUARTET_LABEL
  for (const auto& [name, pattern] : kPatterns) {
    if (name == format) return pattern;
  }
  return "";
}

absl::Status NotSupported(absl::string_view keyword, absl::string_view path,
                          absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("keyword \"", keyword, "\" at ", path, " is not supported ", why));
}

}  // namespace

absl::StatusOr<Expression> JsonSchemaWriter::Number(const Schema& schema, bool only_integers,
                                                    const std::string& path) {
  NumberBounds bounds;
  for (const char* keyword : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
    if (!schema.contains(keyword)) continue;
    if (!schema[keyword].is_number()) {
      return SchemaError(path, absl::StrCat("\"", keyword, "\" must be a number"));
    }
    const double value = schema[keyword].get<double>();
    const bool is_min =
        keyword == absl::string_view("minimum") || keyword == absl::string_view("exclusiveMinimum");
    const bool is_exclusive = keyword[0] == 'e';
    if (is_min ? value > kLargest : value < -kLargest) {
      return NotSupported(keyword, path, "with numbers of more than 15 digits");
    }
    std::optional<double>& bound = is_min ? bounds.min : bounds.max;
    bool& bound_is_exclusive = is_min ? bounds.min_is_exclusive : bounds.max_is_exclusive;
    const bool is_tighter = !bound.has_value() || (is_min ? value > *bound : value < *bound) ||
                            (value == *bound && is_exclusive);
    // A bound beyond all that is written bounds nothing.
    if (!is_tighter || std::abs(value) > kLargest) continue;
    bound = value;
    bound_is_exclusive = is_exclusive;
  }
  std::optional<int64_t> factor;
  if (schema.contains("multipleOf")) {
    const Schema& value = schema["multipleOf"];
    if (!value.is_number() || value <= 0) {
      return SchemaError(path, "\"multipleOf\" must be a number above 0");
    }
    if (TypeOfValue(value) != kIntegerType || value > kLargest) {
      return NotSupported("multipleOf", path, "with a number that is no integer; use a pattern");
    }
    factor = static_cast<int64_t>(value.get<double>());
  }
  if (!only_integers && !factor.has_value()) {
    if (!bounds.min.has_value() && !bounds.max.has_value()) return Expression(number_);
    const Expression decimal = DecimalExpression(bounds);
    return decimal.has_value() ? Expression(rules_.Add("decimal", *decimal)) : decimal;
  }
  std::optional<int64_t> min;
  std::optional<int64_t> max;
  if (bounds.min.has_value()) {
    min = static_cast<int64_t>(std::ceil(*bounds.min));
    if (bounds.min_is_exclusive && std::ceil(*bounds.min) == *bounds.min) ++*min;
  }
  if (bounds.max.has_value()) {
    max = static_cast<int64_t>(std::floor(*bounds.max));
    if (bounds.max_is_exclusive && std::floor(*bounds.max) == *bounds.max) --*max;
  }
  if (factor.has_value() && *factor != 1) return Multiples(*factor, min, max, path);
  const Expression integer = IntegerExpression(min, max);
  return integer.has_value() ? Expression(rules_.Add("integer", *integer)) : integer;
}

absl::StatusOr<Expression> JsonSchemaWriter::Multiples(int64_t factor, std::optional<int64_t> min,
                                                       std::optional<int64_t> max,
                                                       const std::string& path) {
  if (min.has_value() && max.has_value()) {
    int64_t first = *min / factor * factor;
    if (first < *min) first += factor;
    if ((*max - first) / factor >= kMaxListedMultiples) {
      return NotSupported("multipleOf", path,
                          absl::StrCat("with bounds that more than ", kMaxListedMultiples,
                                       " multiples lie between"));
    }
    std::vector<std::string> values;
    for (int64_t value = first; value <= *max; value += factor) {
      values.push_back(absl::StrCat("\"", value, "\""));
    }
    if (values.empty()) return Expression();
    return Expression(rules_.Add("multiple", absl::StrJoin(values, " | ")));
  }
  if (min.has_value() || max.has_value()) {
    return NotSupported("multipleOf", path, "with one bound; give both, or none");
  }
  if (factor > kMaxFactor) {
    return NotSupported("multipleOf", path,
                        absl::StrCat("without bounds above ", kMaxFactor, "; give both bounds"));
  }
  // One rule a remainder: what may follow the digits so far.
  std::vector<std::string> states;
  for (int64_t i = 0; i < factor; ++i) states.push_back(rules_.NewName("mod"));
  const auto digits = [&](int64_t remainder, int first) {
    std::vector<std::string> next;
    for (int digit = first; digit <= 9; ++digit) {
      next.push_back(absl::StrCat("\"", digit, "\" ",
                                  states[static_cast<size_t>((remainder * 10 + digit) % factor)]));
    }
    return absl::StrJoin(next, " | ");
  };
  for (int64_t i = 0; i < factor; ++i) {
    rules_.Set(states[static_cast<size_t>(i)], absl::StrCat(i == 0 ? "\"\" | " : "", digits(i, 0)));
  }
  return Expression(rules_.Add("multiple", absl::StrCat("\"0\" | \"-\"? (", digits(0, 1), ")")));
}

absl::StatusOr<Expression> JsonSchemaWriter::String(const Schema& schema, const std::string& path) {
  for (const char* keyword : {"pattern", "format"}) {
    if (schema.contains(keyword) && !schema[keyword].is_string()) {
      return SchemaError(path, absl::StrCat("\"", keyword, "\" must be a text"));
    }
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> min, Count(schema, "minLength", path));
  ASSIGN_OR_RETURN(std::optional<int64_t> max, Count(schema, "maxLength", path));
  std::string pattern;
  if (schema.contains("format")) {
    pattern = std::string(FormatPattern(schema["format"].get<std::string>()));
  }
  const bool is_format = !pattern.empty();
  if (schema.contains("pattern")) {
    if (is_format) return NotSupported("format", path, "beside \"pattern\"; leave one out");
    pattern = schema["pattern"].get<std::string>();
  }
  if (schema.contains("pattern") || is_format) {
    if (min.value_or(0) > 0 || max.has_value()) {
      return NotSupported(min.value_or(0) > 0 ? "minLength" : "maxLength", path,
                          "beside \"pattern\" or \"format\"; put the length into the pattern");
    }
    const auto expression = RegexExpression(pattern, RegexContext::kJsonString);
    if (!expression.ok()) {
      return SchemaError(path, absl::StrCat("keyword \"pattern\" is not supported: ",
                                            expression.status().message()));
    }
    return Expression(rules_.Add("pattern", absl::StrCat("\"\\\"\" ", *expression, " \"\\\"\"")));
  }
  if (min.value_or(0) > kMaxMinLength) {
    return NotSupported("minLength", path, absl::StrCat("above ", kMaxMinLength));
  }
  if (max.has_value() && *max < min.value_or(0)) return Expression();
  const StringLength length = {min.value_or(0), max};
  if (length.min == 0 && !max.has_value()) return Expression(string_);
  if (max == 0) return Expression("\"\\\"\\\"\"");
  return Expression(LengthString(length));
}

std::string JsonSchemaWriter::LengthString(const StringLength& length) {
  const int code = EncodeLength(length);
  const auto known = lengths_.find(code);
  if (known != lengths_.end()) return known->second;
  std::string& tail = length.min > 0 ? unescaped_tail_ : escaped_tail_;
  if (tail.empty()) {
    tail = rules_.NewName("tail");
    const std::string plain = ClassExpression(PlainCharacters());
    // Without an escaped quote, so that a quote always ends it; with a least length without any
    // escape, so that characters can be counted as they come.
    rules_.Set(tail,
               absl::StrCat("\"\\\"\" | ", plain, " ", tail,
                            length.min > 0 ? "" : absl::StrCat(" | \"\\\\\" [\\\\/bfnrt] ", tail)));
  }
  const std::string rule = rules_.NewName("length");
  rules_.Set(rule, tail, absl::StrCat("[temperature=", code, "]"));
  const std::string whole = absl::StrCat("\"\\\"\" ", rule);
  lengths_.emplace(code, whole);
  return whole;
}

std::string JsonSchemaWriter::ConstantExpression(const Schema& value) {
  std::vector<std::string> parts;
  if (value.is_object()) {
    for (const auto& [name, part] : value.items()) {
      parts.push_back(absl::StrCat(LiteralExpression(Schema(name).dump()), " ", white_space_,
                                   " \":\" ", white_space_, " ", ConstantExpression(part)));
    }
  } else if (value.is_array()) {
    for (const Schema& part : value) parts.push_back(ConstantExpression(part));
  } else {
    return LiteralExpression(value.dump());
  }
  const char* const open = value.is_object() ? "\"{\"" : "\"[\"";
  const char* const close = value.is_object() ? "\"}\"" : "\"]\"";
  if (parts.empty()) return absl::StrCat("(", open, " ", white_space_, " ", close, ")");
  return absl::StrCat("(", open, " ", white_space_, " ",
                      absl::StrJoin(parts, absl::StrCat(" ", Comma(), " ")), " ", white_space_, " ",
                      close, ")");
}

}  // namespace quartet::grammar
