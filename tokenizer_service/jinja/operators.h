// Arithmetic and comparison, with Python's meaning.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

enum class BinaryOperator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
};

enum class CompareOperator {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

// INVALID_ARGUMENT, with Python's reason, if the types don't fit or the result is beyond 64 bits.
absl::StatusOr<Value> Calculate(BinaryOperator op, const Value& left, const Value& right,
                                Heap* heap);
absl::StatusOr<Value> Negate(const Value& value);

absl::StatusOr<bool> Compare(CompareOperator op, const Value& left, const Value& right, Heap* heap);
absl::StatusOr<bool> Equals(const Value& left, const Value& right, Heap* heap, int depth = 0);
absl::StatusOr<bool> IsLess(const Value& left, const Value& right, Heap* heap, int depth = 0);
// `item in container`.
absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap);

// `pattern % values`, a tuple standing for several; or a dict for %(name)s.
absl::StatusOr<Value> FormatPercent(const Value& pattern, const Value& values, Heap* heap);

}  // namespace quartet::tokenizer::jinja
