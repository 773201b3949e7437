// Texts with places for values: `pattern % values` and pattern.format(...). Of both languages the
// part that prompts use; anything else is refused.
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/methods.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer::jinja {
namespace {

constexpr int kMaxWidth = 1000;

// How one value is laid out.
struct Layout {
  char align = '\0';  // '<', '>' or '^'; the type decides if there is none
  char fill = ' ';
  char sign = '-';  // '+' and ' ' show something before positive numbers too
  bool zeros = false;
  int width = 0;
  std::optional<int> precision;
  char type = '\0';
  bool is_repr = false;
};

absl::Status Unsupported(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the format '", what.substr(0, 40), "' is not supported"));
}

bool TakeAny(absl::string_view chars, absl::string_view* rest, char* taken) {
  if (rest->empty() || chars.find(rest->front()) == absl::string_view::npos) return false;
  *taken = rest->front();
  rest->remove_prefix(1);
  return true;
}

// A number of at most kMaxWidth at the front of *rest, taken away; nothing if there is none.
absl::StatusOr<std::optional<int>> TakeNumber(absl::string_view* rest) {
  size_t length = 0;
  while (length < rest->size() &&
         absl::ascii_isdigit(static_cast<unsigned char>((*rest)[length]))) {
    ++length;
  }
  if (length == 0) return std::optional<int>();
  int number = 0;
  if (!absl::SimpleAtoi(rest->substr(0, length), &number) || number > kMaxWidth) {
    return Unsupported(*rest);
  }
  rest->remove_prefix(length);
  return std::optional<int>(number);
}

absl::Status TakeWidthAndPrecision(absl::string_view* rest, Layout* layout) {
  ASSIGN_OR_RETURN(const std::optional<int> width, TakeNumber(rest));
  layout->width = width.value_or(0);
  char point;
  if (!TakeAny(".", rest, &point)) return absl::OkStatus();
  ASSIGN_OR_RETURN(layout->precision, TakeNumber(rest));
  if (!layout->precision.has_value()) layout->precision = 0;
  return absl::OkStatus();
}

std::string Padded(absl::string_view body, absl::string_view sign, const Layout& layout,
                   char default_align) {
  const size_t length = NumCharacters(body) + sign.size();
  const auto width = static_cast<size_t>(layout.width);
  const size_t padding = width > length ? width - length : 0;
  if (layout.zeros && layout.align == '\0') {
    return absl::StrCat(sign, std::string(padding, '0'), body);
  }
  const char align = layout.align == '\0' ? default_align : layout.align;
  const size_t left = align == '<' ? 0 : align == '^' ? padding / 2 : padding;
  return absl::StrCat(std::string(left, layout.fill), sign, body,
                      std::string(padding - left, layout.fill));
}

absl::StatusOr<std::string> LayOutNumber(const Value& value, const Layout& layout) {
  const bool negative = value.number() < 0;
  const absl::string_view sign = negative ? "-" : layout.sign == '+' ? "+" : "";
  if (layout.type == 'f') {
    return Padded(absl::StrFormat("%.*f", layout.precision.value_or(6), std::abs(value.number())),
                  sign, layout, '>');
  }
  if (!value.is_whole()) {
    if (layout.type != '\0' || layout.precision.has_value()) {
      return Unsupported(absl::StrCat(std::string(1, layout.type), " for a float"));
    }
    return Padded(FloatText(std::abs(value.number())), sign, layout, '>');
  }
  if (layout.precision.has_value()) return Unsupported("precision for a whole number");
  const uint64_t magnitude = negative ? uint64_t{0} - static_cast<uint64_t>(value.integer())
                                      : static_cast<uint64_t>(value.integer());
  std::string digits = absl::StrCat(magnitude);
  if (layout.type == 'x' || layout.type == 'X') digits = absl::StrCat(absl::Hex(magnitude));
  if (layout.type == 'X') absl::AsciiStrToUpper(&digits);
  return Padded(digits, sign, layout, '>');
}

absl::StatusOr<std::string> LayOut(const Value& value, const Layout& layout, bool escape,
                                   Heap* heap) {
  const bool as_text = layout.is_repr || layout.type == 's' ||
                       (layout.type == '\0' && (!value.is_number() || value.is(Kind::kBool)));
  if (!as_text) {
    if (!value.is_number()) {
      return absl::InvalidArgumentError(absl::StrCat("the format '", std::string(1, layout.type),
                                                     "' needs a number, not ", TypeName(value)));
    }
    return LayOutNumber(value, layout);
  }
  std::string text;
  if (layout.is_repr) {
    RETURN_IF_ERROR(AppendRepr(value, heap, &text));
  } else {
    ASSIGN_OR_RETURN(const absl::string_view plain, ToText(value, heap));
    text = std::string(plain);
  }
  if (layout.precision.has_value()) {
    text.resize(CharacterOffset(text, static_cast<size_t>(*layout.precision)));
  }
  if (escape && !value.is_markup()) text = EscapeHtml(text);
  return Padded(text, "", layout, '<');
}

// The part of a {place:...} after the colon.
absl::StatusOr<Layout> ParseLayout(absl::string_view spec) {
  Layout layout;
  absl::string_view rest = spec;
  constexpr absl::string_view kAligns = "<>^";
  if (rest.size() > 1 && kAligns.find(rest[1]) != absl::string_view::npos) {
    layout.fill = rest[0];
    rest.remove_prefix(1);
  }
  TakeAny(kAligns, &rest, &layout.align);
  TakeAny("+-", &rest, &layout.sign);
  char zero;
  layout.zeros = TakeAny("0", &rest, &zero);
  RETURN_IF_ERROR(TakeWidthAndPrecision(&rest, &layout));
  TakeAny("sdfxX", &rest, &layout.type);
  if (!rest.empty() || static_cast<unsigned char>(layout.fill) >= 0x80) return Unsupported(spec);
  return layout;
}

// The values that fill the places of a pattern.
class Filler {
 public:
  Filler(const Value& pattern, const Arguments& arguments, Heap* heap)
      : pattern_(pattern), arguments_(arguments), heap_(heap) {}

  absl::StatusOr<Value> Fill() {
    absl::string_view rest = pattern_.text();
    while (!rest.empty()) {
      const size_t at = rest.find_first_of("{}");
      absl::StrAppend(&out_, rest.substr(0, at));
      if (at == absl::string_view::npos) break;
      rest.remove_prefix(at);
      if (rest.size() > 1 && rest[1] == rest[0]) {
        out_.push_back(rest[0]);
        rest.remove_prefix(2);
        continue;
      }
      const size_t end = rest.find('}');
      if (rest[0] == '}' || end == absl::string_view::npos) {
        return absl::InvalidArgumentError("a single brace stands in the format");
      }
      RETURN_IF_ERROR(FillPlace(rest.substr(1, end - 1)));
      rest.remove_prefix(end + 1);
    }
    return heap_->NewString(std::move(out_), pattern_.is_markup());
  }

 private:
  // `place` is what stands between the braces.
  absl::Status FillPlace(absl::string_view place) {
    const size_t colon = place.find(':');
    const absl::string_view spec =
        colon == absl::string_view::npos ? absl::string_view() : place.substr(colon + 1);
    absl::string_view name = place.substr(0, colon);
    ASSIGN_OR_RETURN(Layout layout, ParseLayout(spec));
    const size_t mark = name.find('!');
    if (mark != absl::string_view::npos) {
      const absl::string_view conversion = name.substr(mark + 1);
      if (conversion != "r" && conversion != "s") return Unsupported(place);
      layout.is_repr = conversion == "r";
      if (conversion == "s") layout.type = 's';
      name = name.substr(0, mark);
    }
    ASSIGN_OR_RETURN(const Value value, Find(name));
    ASSIGN_OR_RETURN(const std::string text, LayOut(value, layout, pattern_.is_markup(), heap_));
    RETURN_IF_ERROR(heap_->WorkOnBytes(text.size()));
    RETURN_IF_ERROR(heap_->Reserve(out_.size() + text.size(), 1));
    out_.append(text);
    return absl::OkStatus();
  }

  absl::StatusOr<Value> Find(absl::string_view name) {
    size_t index = next_;
    if (name.empty()) {
      ++next_;
    } else if (!absl::SimpleAtoi(name, &index)) {
      for (const auto& [known, value] : arguments_.keyword) {
        if (known == name) return value;
      }
      return absl::InvalidArgumentError(
          absl::StrCat("the format wants a value named '", name.substr(0, 40), "'"));
    }
    if (index >= arguments_.positional.size()) {
      return absl::InvalidArgumentError("the format wants more values than it gets");
    }
    return arguments_.positional[index];
  }

  const Value& pattern_;
  const Arguments& arguments_;
  Heap* const heap_;
  size_t next_ = 0;
  std::string out_;
};

// Takes one %... from the front of *rest, behind the percent sign; *name is what stands in
// parentheses.
absl::StatusOr<Layout> TakePercentLayout(absl::string_view* rest, absl::string_view* name) {
  const absl::string_view whole = *rest;
  Layout layout;
  layout.align = '>';
  if (!rest->empty() && rest->front() == '(') {
    const size_t end = rest->find(')');
    if (end == absl::string_view::npos) return Unsupported(whole);
    *name = rest->substr(1, end - 1);
    rest->remove_prefix(end + 1);
  }
  for (char flag; TakeAny("-+0", rest, &flag);) {
    if (flag == '-') layout.align = '<';
    if (flag == '+') layout.sign = '+';
    if (flag == '0') layout.zeros = true;
  }
  if (layout.zeros && layout.align == '>') layout.align = '\0';
  RETURN_IF_ERROR(TakeWidthAndPrecision(rest, &layout));
  if (!TakeAny("sdifxXr%", rest, &layout.type)) return Unsupported(whole);
  layout.is_repr = layout.type == 'r';
  if (layout.type == 'i') layout.type = 'd';
  if (layout.type == 's' || layout.is_repr) {
    layout.zeros = false;
    if (layout.align == '\0') layout.align = '>';
  }
  return layout;
}

// %d cuts what is behind the point.
Value Whole(const Value& value, const Layout& layout) {
  const bool fits = std::abs(value.is(Kind::kFloat) ? value.number() : 0) < 9e18;
  if (layout.type == 'd' && value.is(Kind::kFloat) && fits) {
    return Value::Int(static_cast<int64_t>(value.number()));
  }
  return value;
}

}  // namespace

absl::StatusOr<Value> FormatBraces(Context& context, const Value& self,
                                   const Arguments& arguments) {
  return Filler(self, arguments, &context.heap).Fill();
}

absl::StatusOr<Value> FormatPercent(const Value& pattern, const Value& values, Heap* heap) {
  const bool many = values.is_list() && values.list().kind == ListKind::kTuple;
  const std::vector<Value> items = many ? values.list().items : std::vector<Value>{values};
  size_t next = 0;
  std::string out;
  absl::string_view rest = pattern.text();
  while (!rest.empty()) {
    const size_t at = rest.find('%');
    absl::StrAppend(&out, rest.substr(0, at));
    if (at == absl::string_view::npos) break;
    rest.remove_prefix(at + 1);
    absl::string_view name;
    ASSIGN_OR_RETURN(const Layout layout, TakePercentLayout(&rest, &name));
    if (layout.type == '%') {
      out.push_back('%');
      continue;
    }
    Value value;
    if (name.data() != nullptr) {
      const Value* const found = values.is_dict() ? values.dict().Find(name) : nullptr;
      if (found == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("the format wants a value named '", name.substr(0, 40), "'"));
      }
      value = *found;
    } else {
      if (next == items.size()) {
        return absl::InvalidArgumentError("the format wants more values than it gets");
      }
      value = items[next++];
    }
    ASSIGN_OR_RETURN(const std::string text,
                     LayOut(Whole(value, layout), layout, pattern.is_markup(), heap));
    RETURN_IF_ERROR(heap->WorkOnBytes(text.size()));
    RETURN_IF_ERROR(heap->Reserve(out.size() + text.size(), 1));
    out.append(text);
  }
  if (next < items.size() && !values.is_dict()) {
    return absl::InvalidArgumentError("the format gets more values than it wants");
  }
  return heap->NewString(std::move(out), pattern.is_markup());
}

}  // namespace quartet::tokenizer::jinja
