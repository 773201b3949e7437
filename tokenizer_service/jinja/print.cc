#include "tokenizer_service/jinja/print.h"

#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer::jinja {
namespace {

// Structures are walked with a bound on depth; what they print counts as work.
class ReprWriter {
 public:
  ReprWriter(Heap* heap, std::string* out) : heap_(heap), out_(out) {}

  absl::Status Write(const Value& value, int depth) {
    if (depth > kMaxValueDepth) {
      return absl::InvalidArgumentError(absl::StrCat("a value is nested more than ", kMaxValueDepth,
                                                     " deep and can't be printed"));
    }
    RETURN_IF_ERROR(heap_->Reserve(out_->size(), 1));
    switch (value.kind()) {
      case Kind::kString: {
        RETURN_IF_ERROR(heap_->WorkOnBytes(value.text().size()));
        if (value.is_markup()) out_->append("Markup(");
        AppendRepr(value.text(), out_);
        if (value.is_markup()) out_->push_back(')');
        return absl::OkStatus();
      }
      case Kind::kList:
        return WriteList(value.list(), depth);
      case Kind::kDict:
        return WriteDict(value.dict(), depth);
      case Kind::kUndefined:
        out_->append("Undefined");
        return absl::OkStatus();
      default:
        return WriteSimple(value);
    }
  }

  absl::Status WriteSimple(const Value& value) {
    RETURN_IF_ERROR(heap_->Step());
    switch (value.kind()) {
      case Kind::kNone:
        out_->append("None");
        return absl::OkStatus();
      case Kind::kBool:
        out_->append(value.integer() != 0 ? "True" : "False");
        return absl::OkStatus();
      case Kind::kInt:
        absl::StrAppend(out_, value.integer());
        return absl::OkStatus();
      case Kind::kBigInt:
        absl::StrAppend(out_, value.text());
        return absl::OkStatus();
      case Kind::kFloat:
        out_->append(FloatText(value.number()));
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError(absl::StrCat("a ", TypeName(value), " can't be printed"));
    }
  }

 private:
  absl::Status WriteItems(const List& list, int depth) {
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_->append(", ");
      RETURN_IF_ERROR(Write(list.items[i], depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status WriteList(const List& list, int depth) {
    RETURN_IF_ERROR(heap_->Step());
    switch (list.kind) {
      case ListKind::kList:
        out_->push_back('[');
        RETURN_IF_ERROR(WriteItems(list, depth));
        out_->push_back(']');
        return absl::OkStatus();
      case ListKind::kTuple:
        out_->push_back('(');
        RETURN_IF_ERROR(WriteItems(list, depth));
        out_->append(list.items.size() == 1 ? ",)" : ")");
        return absl::OkStatus();
      case ListKind::kItemsView:
      case ListKind::kKeysView:
      case ListKind::kValuesView:
        absl::StrAppend(out_, TypeName(Value::Of(const_cast<List*>(&list))), "([");
        RETURN_IF_ERROR(WriteItems(list, depth));
        out_->append("])");
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError(absl::StrCat(
            "a ", TypeName(Value::Of(const_cast<List*>(&list))), " can't be printed; use |list"));
    }
  }

  absl::Status WriteDict(const Dict& dict, int depth) {
    RETURN_IF_ERROR(heap_->Step());
    out_->push_back('{');
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) out_->append(", ");
      RETURN_IF_ERROR(Write(dict.entries[i].first, depth + 1));
      out_->append(": ");
      RETURN_IF_ERROR(Write(dict.entries[i].second, depth + 1));
    }
    out_->push_back('}');
    return absl::OkStatus();
  }

  Heap* const heap_;
  std::string* const out_;
};

}  // namespace

absl::StatusOr<absl::string_view> ToText(const Value& value, Heap* heap) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) {
    if (value.missing() == Missing::kUnsupported) {
      return absl::InvalidArgumentError(ExplainUndefined(value));
    }
    return absl::string_view();
  }
  std::string text;
  RETURN_IF_ERROR(ReprWriter(heap, &text).Write(value, 0));
  return heap->Keep(std::move(text));
}

absl::Status AppendRepr(const Value& value, Heap* heap, std::string* out) {
  return ReprWriter(heap, out).Write(value, 0);
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto result =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string digits;  // without the point
  const absl::string_view sign = std::signbit(value) ? "-" : "";
  const absl::string_view shortest(buffer, static_cast<size_t>(result.ptr - buffer));
  const size_t e = shortest.find('e');
  int exponent = 0;
  const size_t skip_plus = shortest[e + 1] == '+' ? 1 : 0;
  std::from_chars(buffer + e + 1 + skip_plus, result.ptr, exponent);
  for (const char c : shortest.substr(0, e)) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) digits.push_back(c);
  }
  const int num_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {  // repr's limits
    const int magnitude = exponent < 0 ? -exponent : exponent;
    return absl::StrCat(sign, digits.substr(0, 1), num_digits > 1 ? "." : "", digits.substr(1), "e",
                        exponent < 0 ? "-" : "+", magnitude < 10 ? "0" : "", magnitude);
  }
  if (exponent < 0) return absl::StrCat(sign, "0.", std::string(-exponent - 1, '0'), digits);
  if (num_digits <= exponent + 1) {
    return absl::StrCat(sign, digits, std::string(exponent + 1 - num_digits, '0'), ".0");
  }
  return absl::StrCat(sign, digits.substr(0, exponent + 1), ".", digits.substr(exponent + 1));
}

}  // namespace quartet::tokenizer::jinja
