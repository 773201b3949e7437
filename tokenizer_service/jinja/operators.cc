#include "tokenizer_service/jinja/operators.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer::jinja {
namespace {

constexpr absl::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

absl::Status WrongTypes(absl::string_view symbol, const Value& left, const Value& right) {
  for (const Value* const value : {&left, &right}) {
    if (value->is_undefined()) return absl::InvalidArgumentError(ExplainUndefined(*value));
    if (value->is(Kind::kBigInt)) {
      return absl::InvalidArgumentError(absl::StrCat("calculating with ",
                                                     value->text().substr(0, 40),
                                                     " is not supported: it is beyond 64 bits"));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", symbol, "' does not work on ", TypeName(left), " and ", TypeName(right)));
}

absl::Status Overflow(absl::string_view symbol) {
  return absl::InvalidArgumentError(absl::StrCat("the result of '", symbol, "' is beyond 64 bits"));
}

absl::StatusOr<Value> AddTexts(const Value& left, const Value& right, Heap* heap) {
  RETURN_IF_ERROR(heap->WorkOnBytes(left.text().size() + right.text().size()));
  if (left.is_markup() == right.is_markup()) {
    return heap->NewString(absl::StrCat(left.text(), right.text()), left.is_markup());
  }
  return heap->NewString(
      absl::StrCat(left.is_markup() ? std::string(left.text()) : EscapeHtml(left.text()),
                   right.is_markup() ? std::string(right.text()) : EscapeHtml(right.text())),
      true);
}

absl::StatusOr<Value> AddLists(const List& left, const List& right, Heap* heap) {
  RETURN_IF_ERROR(heap->Work(static_cast<int64_t>(left.items.size() + right.items.size())));
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return heap->NewList(std::move(items), left.kind);
}

absl::StatusOr<Value> Repeat(const Value& what, int64_t times, Heap* heap) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (what.is_string()) {
    RETURN_IF_ERROR(heap->Reserve(count, what.text().size()));
    RETURN_IF_ERROR(heap->WorkOnBytes(count * what.text().size()));
    std::string text;
    text.reserve(count * what.text().size());
    if (!what.text().empty()) {
      for (size_t i = 0; i < count; ++i) text.append(what.text().data(), what.text().size());
    }
    return heap->NewString(std::move(text), what.is_markup());
  }
  const List& list = what.list();
  RETURN_IF_ERROR(heap->Reserve(count, list.items.size() * sizeof(Value)));
  RETURN_IF_ERROR(heap->WorkOnBytes(count * list.items.size() * sizeof(Value)));
  std::vector<Value> items;
  if (!list.items.empty()) {
    items.reserve(count * list.items.size());
    for (size_t i = 0; i < count; ++i) {
      items.insert(items.end(), list.items.begin(), list.items.end());
    }
  }
  return heap->NewList(std::move(items), list.kind);
}

bool CanRepeat(const Value& value) {
  return value.is_string() || (value.is_list() && (value.list().kind == ListKind::kList ||
                                                   value.list().kind == ListKind::kTuple));
}

int64_t FloorDivide(int64_t left, int64_t right) {
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

absl::StatusOr<Value> CalculateWhole(BinaryOperator op, int64_t left, int64_t right) {
  int64_t result = 0;
  const absl::string_view symbol = kSymbols[static_cast<int>(op)];
  switch (op) {
    case BinaryOperator::kAdd:
      if (__builtin_add_overflow(left, right, &result)) return Overflow(symbol);
      return Value::Int(result);
    case BinaryOperator::kSubtract:
      if (__builtin_sub_overflow(left, right, &result)) return Overflow(symbol);
      return Value::Int(result);
    case BinaryOperator::kMultiply:
      if (__builtin_mul_overflow(left, right, &result)) return Overflow(symbol);
      return Value::Int(result);
    case BinaryOperator::kDivide:
      if (right == 0) return absl::InvalidArgumentError("division by zero");
      return Value::Float(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOperator::kFloorDivide:
    case BinaryOperator::kModulo:
      if (right == 0) return absl::InvalidArgumentError("division by zero");
      if (right == -1 && left == std::numeric_limits<int64_t>::min()) return Overflow(symbol);
      result = FloorDivide(left, right);
      return Value::Int(op == BinaryOperator::kFloorDivide ? result : left - result * right);
    case BinaryOperator::kPower:
      break;
  }
  if (right < 0) {
    if (left == 0) return absl::InvalidArgumentError("0 can't be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(left), static_cast<double>(right)));
  }
  // 64 squarings at most: any other base has overflowed by then.
  if (left == 0 || left == 1) return Value::Int(right == 0 ? 1 : left);
  if (left == -1) return Value::Int(right % 2 == 0 ? 1 : -1);
  result = 1;
  for (int64_t i = 0; i < right; ++i) {
    if (__builtin_mul_overflow(result, left, &result)) return Overflow(symbol);
  }
  return Value::Int(result);
}

absl::StatusOr<Value> CalculateFloat(BinaryOperator op, double left, double right) {
  const bool divides = op == BinaryOperator::kDivide || op == BinaryOperator::kFloorDivide ||
                       op == BinaryOperator::kModulo;
  if (divides && right == 0) return absl::InvalidArgumentError("division by zero");
  switch (op) {
    case BinaryOperator::kAdd:
      return Value::Float(left + right);
    case BinaryOperator::kSubtract:
      return Value::Float(left - right);
    case BinaryOperator::kMultiply:
      return Value::Float(left * right);
    case BinaryOperator::kDivide:
      return Value::Float(left / right);
    case BinaryOperator::kFloorDivide:
      return Value::Float(std::floor(left / right));
    case BinaryOperator::kModulo: {
      const double rest = std::fmod(left, right);
      return Value::Float(rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest);
    }
    case BinaryOperator::kPower:
      break;
  }
  return Value::Float(std::pow(left, right));
}

}  // namespace

absl::StatusOr<Value> Calculate(BinaryOperator op, const Value& left, const Value& right,
                                Heap* heap) {
  if (left.is_whole() && right.is_whole()) {
    return CalculateWhole(op, left.integer(), right.integer());
  }
  if (left.is_number() && right.is_number()) {
    return CalculateFloat(op, left.number(), right.number());
  }
  if (op == BinaryOperator::kAdd) {
    if (left.is_string() && right.is_string()) return AddTexts(left, right, heap);
    if (CanRepeat(left) && CanRepeat(right) && left.is_list() && right.is_list() &&
        left.list().kind == right.list().kind) {
      return AddLists(left.list(), right.list(), heap);
    }
  }
  if (op == BinaryOperator::kMultiply) {
    if (CanRepeat(left) && right.is_whole()) return Repeat(left, right.integer(), heap);
    if (CanRepeat(right) && left.is_whole()) return Repeat(right, left.integer(), heap);
  }
  if (op == BinaryOperator::kModulo && left.is_string()) return FormatPercent(left, right, heap);
  return WrongTypes(kSymbols[static_cast<int>(op)], left, right);
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.is(Kind::kFloat)) return Value::Float(-value.number());
  if (!value.is_whole()) return WrongTypes("-", Value::Int(0), value);
  if (value.integer() == std::numeric_limits<int64_t>::min()) return Overflow("-");
  return Value::Int(-value.integer());
}

absl::StatusOr<bool> Equals(const Value& left, const Value& right, Heap* heap, int depth) {
  const bool same_kind = left.kind() == right.kind();
  if (same_kind && left.is_string()) {
    if (left.text().size() != right.text().size()) return false;
    RETURN_IF_ERROR(heap->WorkOnBytes(left.text().size()));
  }
  if (!same_kind || !(left.is_list() || left.is_dict()) || left.identity() == right.identity()) {
    return EqualScalars(left, right);
  }
  if (depth > kMaxValueDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("values nested more than ", kMaxValueDepth, " deep can't be compared"));
  }
  RETURN_IF_ERROR(heap->Step());
  if (left.is_dict()) {
    if (left.dict().entries.size() != right.dict().entries.size()) return false;
    for (const auto& [key, value] : left.dict().entries) {
      const Value* const other = right.dict().Find(key);
      if (other == nullptr) return false;
      ASSIGN_OR_RETURN(const bool equal, Equals(value, *other, heap, depth + 1));
      if (!equal) return false;
    }
    return true;
  }
  const List& a = left.list();
  const List& b = right.list();
  if (a.kind != b.kind || !a.is_sequence() || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equals(a.items[i], b.items[i], heap, depth + 1));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> IsLess(const Value& left, const Value& right, Heap* heap, int depth) {
  RETURN_IF_ERROR(heap->Step());
  if (left.is_whole() && right.is_whole()) return left.integer() < right.integer();
  if (left.is_number() && right.is_number()) return left.number() < right.number();
  if (left.is_string() && right.is_string()) {  // UTF-8 sorts as code points do
    RETURN_IF_ERROR(heap->WorkOnBytes(std::min(left.text().size(), right.text().size())));
    return left.text() < right.text();
  }
  const bool lists =
      left.is_list() && right.is_list() && left.list().kind == right.list().kind && CanRepeat(left);
  if (!lists || depth > kMaxValueDepth) return WrongTypes("<", left, right);
  const std::vector<Value>& a = left.list().items;
  const std::vector<Value>& b = right.list().items;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equals(a[i], b[i], heap, depth + 1));
    if (!equal) return IsLess(a[i], b[i], heap, depth + 1);
  }
  return a.size() < b.size();
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap) {
  if (container.is_string()) {
    if (!item.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'in' a text needs a text, not ", TypeName(item)));
    }
    RETURN_IF_ERROR(heap->WorkOnBytes(container.text().size() + item.text().size()));
    return FindFirst(container.text(), item.text()) != absl::string_view::npos;
  }
  if (container.is_dict()) return container.dict().Find(item) != nullptr;
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(container, heap));
  for (const Value& known : *items) {
    RETURN_IF_ERROR(heap->Step());
    ASSIGN_OR_RETURN(const bool equal, Equals(known, item, heap));
    if (equal) return true;
  }
  return false;
}

absl::StatusOr<bool> Compare(CompareOperator op, const Value& left, const Value& right,
                             Heap* heap) {
  switch (op) {
    case CompareOperator::kEqual:
      return Equals(left, right, heap);
    case CompareOperator::kNotEqual: {
      ASSIGN_OR_RETURN(const bool equal, Equals(left, right, heap));
      return !equal;
    }
    case CompareOperator::kLess:
      return IsLess(left, right, heap);
    case CompareOperator::kGreater:
      return IsLess(right, left, heap);
    case CompareOperator::kIn:
      return Contains(right, left, heap);
    case CompareOperator::kNotIn: {
      ASSIGN_OR_RETURN(const bool contains, Contains(right, left, heap));
      return !contains;
    }
    case CompareOperator::kLessEqual:
    case CompareOperator::kGreaterEqual:
      break;
  }
  const bool swapped = op == CompareOperator::kGreaterEqual;
  ASSIGN_OR_RETURN(const bool less, IsLess(swapped ? right : left, swapped ? left : right, heap));
  if (less) return true;
  return Equals(left, right, heap);
}

}  // namespace quartet::tokenizer::jinja
