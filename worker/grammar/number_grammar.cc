#include "worker/grammar/number_grammar.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace quartet::grammar {
namespace {

using Alternatives = std::vector<std::string>;

std::string Join(const Alternatives& alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  return absl::StrCat("(", absl::StrJoin(alternatives, " | "), ")");
}

std::string Digits(size_t count) {
  if (count == 0) return "\"\"";
  return count == 1 ? "[0-9]" : absl::StrCat("[0-9]{", count, "}");
}

std::string UpToDigits(int count) {
  return count <= 0 ? "\"\"" : absl::StrCat("[0-9]{0,", count, "}");
}

std::string DigitRange(char first, char last) {
  return first == last ? absl::StrCat("\"", std::string(1, first), "\"")
                       : absl::StrCat("[", std::string(1, first), "-", std::string(1, last), "]");
}

// Texts of as many digits as both have, from `low` to `high`.
std::string SameLength(const std::string& low, const std::string& high) {
  if (low.empty()) return "\"\"";
  const std::string rest_low = low.substr(1);
  const std::string rest_high = high.substr(1);
  const size_t rest = rest_low.size();
  if (low[0] == high[0]) {
    return absl::StrCat(DigitRange(low[0], low[0]), " ", SameLength(rest_low, rest_high));
  }
  const bool low_is_round = rest_low == std::string(rest, '0');
  const bool high_is_round = rest_high == std::string(rest, '9');
  Alternatives alternatives;
  const char first = static_cast<char>(low_is_round ? low[0] : low[0] + 1);
  const char last = static_cast<char>(high_is_round ? high[0] : high[0] - 1);
  if (!low_is_round) {
    alternatives.push_back(absl::StrCat(DigitRange(low[0], low[0]), " ",
                                        SameLength(rest_low, std::string(rest, '9'))));
  }
  if (first <= last) {
    alternatives.push_back(absl::StrCat(DigitRange(first, last), " ", Digits(rest)));
  }
  if (!high_is_round) {
    alternatives.push_back(absl::StrCat(DigitRange(high[0], high[0]), " ",
                                        SameLength(std::string(rest, '0'), rest_high)));
  }
  return Join(alternatives);
}

// 0 <= low <= high.
std::string NaturalRange(int64_t low, int64_t high) {
  Alternatives alternatives;
  const size_t longest = absl::StrCat(high).size();
  for (size_t length = absl::StrCat(low).size(); length <= longest; ++length) {
    const std::string least = length == 1 ? "0" : absl::StrCat("1", std::string(length - 1, '0'));
    const std::string low_text = absl::StrCat(low);
    const std::string high_text = absl::StrCat(high);
    alternatives.push_back(
        SameLength(low_text.size() == length ? low_text : least,
                   high_text.size() == length ? high_text : std::string(length, '9')));
  }
  return Join(alternatives);
}

int64_t LargestInteger() {
  int64_t value = 1;
  for (int i = 0; i < kMaxIntegerDigits; ++i) value *= 10;
  return value - 1;
}

// A non-negative bound as its digits: 12.25 is "12" and "25".
struct Decimal {
  int64_t whole = 0;
  std::string fraction;  // without trailing zeros
};

Decimal ToDecimal(double value) {
  // The shortest text that reads back as the same number is what the schema's author wrote.
  std::string text;
  for (int digits = 0; digits <= 17; ++digits) {
    text = absl::StrFormat("%.*f", digits, value);
    if (std::stod(text) == value) break;
  }
  Decimal decimal;
  const size_t point = text.find('.');
  decimal.whole = std::stoll(text.substr(0, point));
  if (point != std::string::npos) decimal.fraction = text.substr(point + 1);
  while (!decimal.fraction.empty() && decimal.fraction.back() == '0') decimal.fraction.pop_back();
  return decimal;
}

// Fractions, the point with them, that lie at or beyond a bound's own; empty: none does.
class Fractions {
 public:
  explicit Fractions(int max_digits) : max_digits_(max_digits) {}

  std::string Any() const {
    return max_digits_ == 0 ? "\"\"" : absl::StrCat("(\".\" [0-9]{1,", max_digits_, "})?");
  }

  Alternatives AtLeast(const std::string& bound, bool is_exclusive) const {
    if (bound.empty() && !is_exclusive) return {Any()};
    Alternatives result;
    std::string prefix = "\".\" ";
    int used = 0;
    for (const char digit : bound) {
      ++used;
      if (digit < '9') {
        result.push_back(absl::StrCat(prefix, DigitRange(static_cast<char>(digit + 1), '9'), " ",
                                      UpToDigits(max_digits_ - used)));
      }
      absl::StrAppend(&prefix, DigitRange(digit, digit), " ");
    }
    if (!is_exclusive) {
      result.push_back(absl::StrCat(prefix, UpToDigits(max_digits_ - used)));
      return result;
    }
    // More than the bound: a digit that isn't zero, somewhere.
    for (; used < max_digits_; ++used) {
      result.push_back(absl::StrCat(prefix, "[1-9] ", UpToDigits(max_digits_ - used - 1)));
      absl::StrAppend(&prefix, "\"0\" ");
    }
    return result;
  }

  Alternatives AtMost(const std::string& bound, bool is_exclusive) const {
    Alternatives result;
    // Nothing and ".0" are zero.
    if (!bound.empty() || !is_exclusive) result.push_back("\"\"");
    std::string prefix = "\".\" ";
    int used = 0;
    for (const char digit : bound) {
      ++used;
      if (digit > '0') {
        result.push_back(absl::StrCat(prefix, DigitRange('0', static_cast<char>(digit - 1)), " ",
                                      UpToDigits(max_digits_ - used)));
      }
      absl::StrAppend(&prefix, DigitRange(digit, digit), " ");
      // What ends here goes on with zeros.
      if (used < static_cast<int>(bound.size())) result.push_back(prefix);
    }
    if (!is_exclusive && used < max_digits_) {
      result.push_back(
          absl::StrCat(prefix, "\"0\"{", bound.empty() ? 1 : 0, ",", max_digits_ - used, "}"));
    } else if (!is_exclusive && !bound.empty()) {
      result.push_back(prefix);
    }
    return result;
  }

  // Both bounds inside one whole number.
  Alternatives Between(const std::string& low, bool low_is_exclusive, const std::string& high,
                       bool high_is_exclusive) const {
    // Pad to one length, so that the digits can be compared one by one.
    const size_t length = std::max(low.size(), high.size());
    const std::string low_text = low + std::string(length - low.size(), '0');
    const std::string high_text = high + std::string(length - high.size(), '0');
    size_t same = 0;
    while (same < length && low_text[same] == high_text[same]) ++same;
    Alternatives result;
    std::string prefix = "\".\" ";
    for (size_t i = 0; i < same; ++i) {
      absl::StrAppend(&prefix, DigitRange(low_text[i], low_text[i]), " ");
    }
    if (low.empty() && !low_is_exclusive && (!high.empty() || !high_is_exclusive)) {
      result.push_back("\"\"");
    }
    const int left = max_digits_ - static_cast<int>(same) - 1;
    if (same > 0 && same < length && !low_is_exclusive && low.size() <= same) {
      result.push_back(prefix);
    }
    if (same == length) {  // equal: one value, or none
      if (!low_is_exclusive && !high_is_exclusive && length > 0) result.push_back(prefix);
      return result;
    }
    const char low_digit = low_text[same];
    const char high_digit = high_text[same];
    if (high_digit - low_digit > 1) {
      result.push_back(absl::StrCat(
          prefix, DigitRange(static_cast<char>(low_digit + 1), static_cast<char>(high_digit - 1)),
          " ", UpToDigits(left)));
    }
    // Below the low bound's next digit, and above the high one's: as fractions of their own.
    const Fractions inner(std::max(0, left));
    const auto continue_with = [&](char digit, const Alternatives& tails) {
      for (std::string tail : tails) {
        // A tail's own point is not written again.
        const size_t point = tail.find("\".\"");
        if (tail == inner.Any() && left > 0) {
          tail = UpToDigits(left);
        } else if (point != std::string::npos) {
          tail.erase(point, 3);
        }
        result.push_back(absl::StrCat(prefix, DigitRange(digit, digit), " ", tail));
      }
    };
    const auto rest = [&](const std::string& text) {
      std::string tail = text.substr(same + 1);
      while (!tail.empty() && tail.back() == '0') tail.pop_back();
      return tail;
    };
    continue_with(low_digit, inner.AtLeast(rest(low_text), low_is_exclusive));
    continue_with(high_digit, inner.AtMost(rest(high_text), high_is_exclusive));
    return result;
  }

 private:
  const int max_digits_;
};

constexpr double kNoBound = std::numeric_limits<double>::infinity();

// 0 <= low <= high; with kNoBound up to the largest whole number.
Alternatives NonNegative(double low, bool low_is_exclusive, double high, bool high_is_exclusive) {
  const bool has_high = high != kNoBound;
  const Decimal from = ToDecimal(low);
  const Decimal to = has_high ? ToDecimal(high) : Decimal{LargestInteger(), ""};
  const int whole_digits = static_cast<int>(absl::StrCat(has_high ? to.whole : from.whole).size());
  // Without an upper bound, digits after the point are few enough for the lower one.
  const int needed = static_cast<int>(std::max(from.fraction.size(), to.fraction.size()));
  const Fractions fractions(std::max(needed, std::min(12, kMaxIntegerDigits - whole_digits)));
  Alternatives result;
  const auto add = [&](int64_t whole, const Alternatives& tails) {
    for (const std::string& tail : tails) {
      result.push_back(absl::StrCat("\"", whole, "\" ", tail));
    }
  };
  if (from.whole == to.whole) {
    add(from.whole,
        fractions.Between(from.fraction, low_is_exclusive, to.fraction, high_is_exclusive));
    return result;
  }
  add(from.whole, fractions.AtLeast(from.fraction, low_is_exclusive));
  if (to.whole - from.whole > 1) {
    result.push_back(
        absl::StrCat(NaturalRange(from.whole + 1, to.whole - 1), " ", fractions.Any()));
  }
  add(to.whole, fractions.AtMost(to.fraction, high_is_exclusive));
  return result;
}

}  // namespace

std::optional<std::string> IntegerExpression(std::optional<int64_t> min,
                                             std::optional<int64_t> max) {
  const int64_t low = std::max(min.value_or(-LargestInteger()), -LargestInteger());
  const int64_t high = std::min(max.value_or(LargestInteger()), LargestInteger());
  if (low > high) return std::nullopt;
  Alternatives alternatives;
  if (low < 0) {
    alternatives.push_back(absl::StrCat("\"-\" ", NaturalRange(std::max<int64_t>(1, -high), -low)));
  }
  if (high >= 0) alternatives.push_back(NaturalRange(std::max<int64_t>(0, low), high));
  return Join(alternatives);
}

std::optional<std::string> DecimalExpression(const NumberBounds& bounds) {
  Alternatives alternatives;
  // Negative numbers mirror positive ones.
  if (!bounds.min.has_value() || *bounds.min < 0) {
    const bool has_high = bounds.max.has_value() && *bounds.max < 0;
    const Alternatives sizes =
        NonNegative(has_high ? -*bounds.max : 0, !has_high || bounds.max_is_exclusive,
                    bounds.min.has_value() ? -*bounds.min : kNoBound, bounds.min_is_exclusive);
    if (!sizes.empty()) alternatives.push_back(absl::StrCat("\"-\" ", Join(sizes)));
  }
  if (!bounds.max.has_value() || *bounds.max >= 0) {
    const bool has_low = bounds.min.has_value() && *bounds.min >= 0;
    const double low = has_low ? *bounds.min : 0;
    const bool is_empty = bounds.max.has_value() &&
                          (*bounds.max < low || (*bounds.max == low && bounds.max_is_exclusive));
    const Alternatives sizes =
        is_empty ? Alternatives{}
                 : NonNegative(low, has_low && bounds.min_is_exclusive,
                               bounds.max.value_or(kNoBound), bounds.max_is_exclusive);
    if (!sizes.empty()) alternatives.push_back(Join(sizes));
  }
  if (alternatives.empty()) return std::nullopt;
  return Join(alternatives);
}

}  // namespace quartet::grammar
