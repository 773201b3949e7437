// Jinja's tests (`value is test`), see filters.h.
#include <utf8proc.h>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/filters.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

// Tests that look at the kind of the value alone.
bool IsDefined(const Value& value) { return !value.is_undefined(); }
bool IsUndefined(const Value& value) { return value.is_undefined(); }
bool IsNone(const Value& value) { return value.is_none(); }
bool IsBoolean(const Value& value) { return value.is(Kind::kBool); }
bool IsTrueItself(const Value& value) { return value.is(Kind::kBool) && value.integer() != 0; }
bool IsFalseItself(const Value& value) { return value.is(Kind::kBool) && value.integer() == 0; }
bool IsInteger(const Value& value) { return value.is(Kind::kInt) || value.is(Kind::kBigInt); }
bool IsFloat(const Value& value) { return value.is(Kind::kFloat); }
bool IsNumber(const Value& value) { return value.is_number() || value.is(Kind::kBigInt); }
bool IsString(const Value& value) { return value.is_string(); }
bool IsMapping(const Value& value) { return value.is_dict(); }
bool IsCallable(const Value& value) { return value.is(Kind::kCallable); }
bool IsEscaped(const Value& value) { return value.is_markup(); }
bool IsIterable(const Value& value) {
  return value.is_string() || value.is_list() || value.is_dict() || value.is_undefined() ||
         value.is(Kind::kLoop);
}
// What has a length and items by position or key.
bool IsSequence(const Value& value) {
  if (value.is_list()) return value.list().is_sequence();
  return value.is_string() || value.is_dict() || value.is_undefined();
}

template <bool (*kTest)(const Value&)>
absl::StatusOr<bool> KindTest(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return kTest(self);
}

template <CompareOperator kOperator>
absl::StatusOr<bool> CompareTest(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"other"}, 1));
  return Compare(kOperator, self, *bound[0], &context.heap);
}

absl::StatusOr<int64_t> Remainder(const Value& value, const Value& divisor, Heap* heap) {
  if (!value.is_whole() || !divisor.is_whole()) {
    return absl::InvalidArgumentError("needs whole numbers");
  }
  ASSIGN_OR_RETURN(const Value rest, Calculate(BinaryOperator::kModulo, value, divisor, heap));
  return rest.integer();
}

template <int kRemainder>
absl::StatusOr<bool> ParityTest(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const int64_t rest, Remainder(self, Value::Int(2), &context.heap));
  return rest == kRemainder;
}

absl::StatusOr<bool> DivisibleBy(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"num"}, 1));
  ASSIGN_OR_RETURN(const int64_t rest, Remainder(self, *bound[0], &context.heap));
  return rest == 0;
}

absl::StatusOr<bool> SameAs(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"other"}, 1));
  if (self.kind() != bound[0]->kind()) return false;
  if (self.is_none()) return true;
  if (self.is(Kind::kBool)) return self.integer() == bound[0]->integer();
  if (self.is_list() || self.is_dict()) return self.identity() == bound[0]->identity();
  return absl::InvalidArgumentError(
      "is supported on none, true, false, lists and dicts; use == for other values");
}

// str.islower() and str.isupper().
template <utf8proc_category_t kCategory, utf8proc_category_t kOpposite>
absl::StatusOr<bool> CaseTest(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const absl::string_view text, ToText(self, &context.heap));
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c.value));
    if (category == kOpposite || category == UTF8PROC_CATEGORY_LT) return false;
    any |= category == kCategory;
    at += c.num_bytes;
  }
  return any;
}

absl::StatusOr<bool> IsFilterName(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return self.is_string() && FindFilter(self.text()) != nullptr;
}

absl::StatusOr<bool> IsTestName(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return self.is_string() && FindTest(self.text()) != nullptr;
}

struct NamedTest {
  absl::string_view name;
  TestFunction function;
};

constexpr NamedTest kTests[] = {
    {"!=", CompareTest<CompareOperator::kNotEqual>},
    {"<", CompareTest<CompareOperator::kLess>},
    {"<=", CompareTest<CompareOperator::kLessEqual>},
    {"==", CompareTest<CompareOperator::kEqual>},
    {">", CompareTest<CompareOperator::kGreater>},
    {">=", CompareTest<CompareOperator::kGreaterEqual>},
    {"boolean", KindTest<IsBoolean>},
    {"callable", KindTest<IsCallable>},
    {"defined", KindTest<IsDefined>},
    {"divisibleby", DivisibleBy},
    {"eq", CompareTest<CompareOperator::kEqual>},
    {"equalto", CompareTest<CompareOperator::kEqual>},
    {"escaped", KindTest<IsEscaped>},
    {"even", ParityTest<0>},
    {"false", KindTest<IsFalseItself>},
    {"filter", IsFilterName},
    {"float", KindTest<IsFloat>},
    {"ge", CompareTest<CompareOperator::kGreaterEqual>},
    {"greaterthan", CompareTest<CompareOperator::kGreater>},
    {"gt", CompareTest<CompareOperator::kGreater>},
    {"in", CompareTest<CompareOperator::kIn>},
    {"integer", KindTest<IsInteger>},
    {"iterable", KindTest<IsIterable>},
    {"le", CompareTest<CompareOperator::kLessEqual>},
    {"lessthan", CompareTest<CompareOperator::kLess>},
    {"lower", CaseTest<UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LU>},
    {"lt", CompareTest<CompareOperator::kLess>},
    {"mapping", KindTest<IsMapping>},
    {"ne", CompareTest<CompareOperator::kNotEqual>},
    {"none", KindTest<IsNone>},
    {"number", KindTest<IsNumber>},
    {"odd", ParityTest<1>},
    {"sameas", SameAs},
    {"sequence", KindTest<IsSequence>},
    {"string", KindTest<IsString>},
    {"test", IsTestName},
    {"true", KindTest<IsTrueItself>},
    {"undefined", KindTest<IsUndefined>},
    {"upper", CaseTest<UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL>},
};

}  // namespace

TestFunction FindTest(absl::string_view name) {
  for (const NamedTest& test : kTests) {
    if (test.name == name) return test.function;
  }
  return nullptr;
}

}  // namespace quartet::tokenizer::jinja
