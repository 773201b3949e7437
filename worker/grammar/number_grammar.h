// Numbers between bounds as EBNF: which decimal texts lie in a range. Texts have no leading zeros,
// no sign before zero and no exponent, and few enough digits that a reader who rounds to a double
// doesn't leave the range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace quartet::grammar {

// Digits of an integer, at most.
inline constexpr int kMaxIntegerDigits = 15;

struct NumberBounds {
  std::optional<double> min;
  std::optional<double> max;
  bool min_is_exclusive = false;
  bool max_is_exclusive = false;
};

// Nothing if no integer of at most kMaxIntegerDigits digits lies in [min, max].
std::optional<std::string> IntegerExpression(std::optional<int64_t> min,
                                             std::optional<int64_t> max);

// The same for decimal numbers. Bounds must be below 1e15 in size.
std::optional<std::string> DecimalExpression(const NumberBounds& bounds);

}  // namespace quartet::grammar
