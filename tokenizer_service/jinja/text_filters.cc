// Filters on texts and single values, see filters.h.
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/filters.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer::jinja {
namespace {

using BoundArguments = std::vector<std::optional<Value>>;

// `self` as a text, as Jinja's soft_str: a text stays what it is.
absl::StatusOr<Value> Soft(Context& context, const Value& self) {
  if (self.is_string()) return self;
  ASSIGN_OR_RETURN(const absl::string_view text, ToText(self, &context.heap));
  return Value::String(text);
}

template <std::string (*kChange)(absl::string_view)>
absl::StatusOr<Value> CaseFilter(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  return context.heap.NewString(kChange(text.text()), text.is_markup());
}

absl::StatusOr<Value> TitleOf(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  return context.heap.NewString(TitleFilter(text.text()));
}

absl::StatusOr<Value> Trim(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"chars"}));
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  const Value chars = bound[0].value_or(Value::None());
  if (chars.is_none()) return Value::String(Strip(text.text()), text.is_markup());
  if (!chars.is_string()) return absl::InvalidArgumentError("'chars' must be a text");
  const absl::string_view stripped = chars.text();
  return Value::String(Strip(text.text(), &stripped), text.is_markup());
}

absl::StatusOr<Value> ToStringFilter(Context& context, const Value& self,
                                     const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return Soft(context, self);
}

absl::StatusOr<Value> Safe(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  return Value::String(text.text(), true);
}

absl::StatusOr<Value> Escape(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is_markup()) return self;
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  return context.heap.NewString(EscapeHtml(text.text()), true);
}

absl::StatusOr<Value> Default(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default_value", "boolean"}));
  const bool replace_false = bound[1].has_value() && IsTrue(*bound[1]);
  if (!self.is_undefined() && (!replace_false || IsTrue(self))) return self;
  return bound[0].value_or(Value::String(""));
}

absl::StatusOr<Value> LengthOf(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const int64_t length, Length(self, &context.heap));
  return Value::Int(length);
}

absl::StatusOr<Value> ReplaceFilter(Context& context, const Value& self,
                                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const Value text, Soft(context, self));
  ASSIGN_OR_RETURN(const Value from, Soft(context, *bound[0]));
  ASSIGN_OR_RETURN(const Value to, Soft(context, *bound[1]));
  int64_t count = -1;
  if (bound[2].has_value() && !bound[2]->is_none()) {
    if (!bound[2]->is_whole()) return absl::InvalidArgumentError("'count' must be a number");
    count = bound[2]->integer();
  }
  const absl::string_view whole = text.text();
  const size_t num_places = from.text().empty() ? whole.size() + 1 : CountParts(whole, from.text());
  RETURN_IF_ERROR(context.heap.Reserve(num_places, to.text().size()));
  RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(num_places)));
  RETURN_IF_ERROR(context.heap.WorkOnBytes(whole.size() + num_places * to.text().size()));
  return context.heap.NewString(Replace(whole, from.text(), to.text(), count));
}

absl::StatusOr<Value> Indent(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"width", "first", "blank"}));
  if (!self.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("needs a text, not ", TypeName(self)));
  }
  std::string indention(4, ' ');
  if (bound[0].has_value()) {
    if (bound[0]->is_string()) {
      indention = std::string(bound[0]->text());
    } else if (bound[0]->is_whole()) {
      const auto width = static_cast<size_t>(std::max<int64_t>(0, bound[0]->integer()));
      RETURN_IF_ERROR(context.heap.Reserve(width, 1));
      indention = std::string(width, ' ');
    } else {
      return absl::InvalidArgumentError("'width' must be a number or a text");
    }
  }
  const bool first = bound[1].has_value() && IsTrue(*bound[1]);
  const bool blank = bound[2].has_value() && IsTrue(*bound[2]);
  // The added line end makes a last empty line count.
  const absl::string_view text = context.heap.Keep(absl::StrCat(self.text(), "\n"));
  RETURN_IF_ERROR(context.heap.Reserve(MaxLines(text), 2 * sizeof(absl::string_view)));
  const std::vector<absl::string_view> lines = SplitLines(text, false);
  RETURN_IF_ERROR(context.heap.Reserve(lines.size(), indention.size()));
  RETURN_IF_ERROR(context.heap.WorkOnBytes(text.size() + lines.size() * indention.size()));
  std::string out;
  if (first) out = indention;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.push_back('\n');
    if (i > 0 && (blank || !lines[i].empty())) out.append(indention);
    absl::StrAppend(&out, lines[i]);
  }
  return context.heap.NewString(std::move(out), self.is_markup());
}

// A text as float() reads it.
std::optional<double> ParseFloat(absl::string_view text) {
  text = Strip(text);
  double number = 0;
  if (text.empty() || !absl::SimpleAtod(text, &number)) return std::nullopt;
  return number;
}

absl::StatusOr<Value> IntOf(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default", "base"}));
  const Value otherwise = bound[0].value_or(Value::Int(0));
  if (bound[1].has_value()) return absl::InvalidArgumentError("'base' is not supported");
  if (self.is_whole()) return Value::Int(self.integer());
  if (self.is(Kind::kBigInt)) return self;
  std::optional<double> number;
  if (self.is(Kind::kFloat)) number = self.number();
  if (self.is_string()) {
    int64_t whole = 0;
    if (absl::SimpleAtoi(Strip(self.text()), &whole)) return Value::Int(whole);
    number = ParseFloat(self.text());
  }
  if (!number.has_value() || !std::isfinite(*number)) return otherwise;
  if (std::abs(*number) > 9e18) return absl::InvalidArgumentError("the number is beyond 64 bits");
  return Value::Int(static_cast<int64_t>(*number));
}

absl::StatusOr<Value> FloatOf(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default"}));
  if (self.is_number()) return Value::Float(self.number());
  const std::optional<double> number =
      self.is_string() ? ParseFloat(self.text()) : std::optional<double>();
  if (number.has_value()) return Value::Float(*number);
  return bound[0].value_or(Value::Float(0));
}

absl::StatusOr<Value> AbsOf(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is(Kind::kFloat)) return Value::Float(std::abs(self.number()));
  if (!self.is_whole()) return absl::InvalidArgumentError("needs a number");
  return self.integer() < 0 ? Negate(self) : absl::StatusOr<Value>(Value::Int(self.integer()));
}

// round(): to the even neighbour if both are equally near, as the exact decimal value says.
absl::StatusOr<Value> Round(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"precision", "method"}));
  if (!self.is_number()) return absl::InvalidArgumentError("needs a number");
  const Value precision = bound[0].value_or(Value::Int(0));
  if (!precision.is_whole() || precision.integer() < 0 || precision.integer() > 20) {
    return absl::InvalidArgumentError("'precision' must be a number from 0 to 20");
  }
  const absl::string_view method =
      bound[1].has_value() && bound[1]->is_string() ? bound[1]->text() : "common";
  if (method == "common") {
    if (self.is_whole()) return Value::Int(self.integer());
    char digits[400];
    const auto written =
        std::to_chars(digits, digits + sizeof(digits), self.number(), std::chars_format::fixed,
                      static_cast<int>(precision.integer()));
    double rounded = self.number();
    absl::from_chars(digits, written.ptr, rounded);
    return Value::Float(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision.integer()));
  if (method == "ceil") return Value::Float(std::ceil(self.number() * scale) / scale);
  if (method == "floor") return Value::Float(std::floor(self.number() * scale) / scale);
  return absl::InvalidArgumentError("'method' must be 'common', 'ceil' or 'floor'");
}

absl::StatusOr<Value> FormatFilter(Context& context, const Value& self,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value pattern, Soft(context, self));
  if (arguments.keyword.empty()) {
    return FormatPercent(pattern, context.heap.NewList(arguments.positional, ListKind::kTuple),
                         &context.heap);
  }
  if (!arguments.positional.empty()) {
    return absl::InvalidArgumentError("takes values by place or by name, not both");
  }
  Dict* const values = context.heap.NewDict();
  for (const auto& [name, value] : arguments.keyword) values->Set(Value::String(name), value);
  return FormatPercent(pattern, Value::Of(values), &context.heap);
}

// As transformers overrides it: no HTML escapes, and json.dumps' own options.
absl::StatusOr<Value> ToJson(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   Bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound[0].has_value() && IsTrue(*bound[0]);
  style.sort_keys = bound[3].has_value() && IsTrue(*bound[3]);
  const Value indent = bound[1].value_or(Value::None());
  if (indent.is_string()) {
    style.indent = std::string(indent.text());
  } else if (indent.is_whole()) {
    const auto width = static_cast<size_t>(std::max<int64_t>(0, indent.integer()));
    RETURN_IF_ERROR(context.heap.Reserve(width, 1));
    style.indent = std::string(width, ' ');
  } else if (!indent.is_none()) {
    return absl::InvalidArgumentError("'indent' must be a number or a text");
  }
  if (style.indent.has_value()) style.item_separator = std::string(1, ',');
  const Value separators = bound[2].value_or(Value::None());
  if (!separators.is_none()) {
    const bool pair = separators.is_list() && separators.list().items.size() == 2 &&
                      separators.list().items[0].is_string() &&
                      separators.list().items[1].is_string();
    if (!pair) return absl::InvalidArgumentError("'separators' must be two texts");
    style.item_separator = std::string(separators.list().items[0].text());
    style.key_separator = std::string(separators.list().items[1].text());
  }
  ASSIGN_OR_RETURN(std::string text, WriteJson(self, style, &context.heap));
  return context.heap.NewString(std::move(text));
}

struct NamedFilter {
  absl::string_view name;
  Function function;
};

constexpr NamedFilter kFilters[] = {
    {"abs", AbsOf},
    {"capitalize", CaseFilter<Capitalize>},
    {"count", LengthOf},
    {"d", Default},
    {"default", Default},
    {"e", Escape},
    {"escape", Escape},
    {"float", FloatOf},
    {"format", FormatFilter},
    {"indent", Indent},
    {"int", IntOf},
    {"length", LengthOf},
    {"lower", CaseFilter<Lower>},
    {"replace", ReplaceFilter},
    {"round", Round},
    {"safe", Safe},
    {"string", ToStringFilter},
    {"title", TitleOf},
    {"tojson", ToJson},
    {"trim", Trim},
    {"upper", CaseFilter<Upper>},
};

}  // namespace

Function FindTextFilter(absl::string_view name) {
  for (const NamedFilter& filter : kFilters) {
    if (filter.name == name) return filter.function;
  }
  return nullptr;
}

}  // namespace quartet::tokenizer::jinja
