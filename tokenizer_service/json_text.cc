#include "tokenizer_service/json_text.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/str_cat.h"
#include "common/json_escape.h"
#include "common/status_macros.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

constexpr int kMaxDepth = 200;
// Python refuses to read longer whole numbers.
constexpr size_t kMaxDigits = 4300;

void AppendQuoted(absl::string_view text, std::string* out) {
  out->push_back('"');
  common::AppendJsonEscaped(text, out);
  out->push_back('"');
}

class Rewriter {
 public:
  explicit Rewriter(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::string> Rewrite() {
    const size_t invalid = FindInvalidUtf8(text_);
    if (invalid != absl::string_view::npos) {
      at_ = invalid;
      return Error("is not UTF-8");
    }
    std::string out;
    RETURN_IF_ERROR(Value(0, &out));
    SkipSpace();
    if (at_ != text_.size()) return Error("something follows the value");
    return out;
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("not JSON at byte ", at_, ": ", what));
  }

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void SkipSpace() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  bool TakeWord(absl::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  absl::Status Value(int depth, std::string* out) {
    SkipSpace();
    if (at_ == text_.size()) return Error("a value is missing");
    if (depth == kMaxDepth) return Error(absl::StrCat("nested more than ", kMaxDepth, " deep"));
    const char c = Peek();
    if (c == '{') return Object(depth, out);
    if (c == '[') return Array(depth, out);
    if (c == '-' || absl::ascii_isdigit(c)) return Number(out);
    if (c == '"') {
      std::string text;
      RETURN_IF_ERROR(String(&text));
      AppendQuoted(text, out);
      return absl::OkStatus();
    }
    for (const absl::string_view word : {"true", "false", "null"}) {
      if (TakeWord(word)) {
        absl::StrAppend(out, word);
        return absl::OkStatus();
      }
    }
    return Error("expected a value");
  }

  absl::Status Array(int depth, std::string* out) {
    ++at_;
    out->push_back('[');
    SkipSpace();
    if (Peek() == ']') {
      ++at_;
      out->push_back(']');
      return absl::OkStatus();
    }
    while (true) {
      RETURN_IF_ERROR(Value(depth + 1, out));
      SkipSpace();
      if (Peek() == ']') break;
      if (Peek() != ',') return Error("expected ',' or ']'");
      ++at_;
      out->append(", ");
    }
    ++at_;
    out->push_back(']');
    return absl::OkStatus();
  }

  absl::Status Object(int depth, std::string* out) {
    ++at_;
    std::vector<std::pair<std::string, std::string>> members;
    absl::flat_hash_map<std::string, size_t> places;
    SkipSpace();
    if (Peek() == '}') {
      ++at_;
    } else {
      RETURN_IF_ERROR(Members(depth, &members, &places));
    }
    out->push_back('{');
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out->append(", ");
      AppendQuoted(members[i].first, out);
      absl::StrAppend(out, ": ", members[i].second);
    }
    out->push_back('}');
    return absl::OkStatus();
  }

  absl::Status Members(int depth, std::vector<std::pair<std::string, std::string>>* members,
                       absl::flat_hash_map<std::string, size_t>* places) {
    while (true) {
      SkipSpace();
      if (Peek() != '"') return Error("expected a key");
      std::string key, value;
      RETURN_IF_ERROR(String(&key));
      SkipSpace();
      if (Peek() != ':') return Error("expected ':'");
      ++at_;
      RETURN_IF_ERROR(Value(depth + 1, &value));
      const auto [place, is_new] = places->emplace(key, members->size());
      if (is_new) {
        members->emplace_back(std::move(key), std::move(value));
      } else {
        (*members)[place->second].second = std::move(value);
      }
      SkipSpace();
      const char c = Peek();
      if (c != '}' && c != ',') return Error("expected ',' or '}'");
      ++at_;
      if (c == '}') return absl::OkStatus();
    }
  }

  absl::Status String(std::string* out) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return absl::OkStatus();
      }
      if (static_cast<unsigned char>(c) < 0x20) return Error("a control character in a string");
      if (c == '\\') {
        RETURN_IF_ERROR(Escape(out));
      } else {
        out->push_back(c);
        ++at_;
      }
    }
    return Error("a string does not end");
  }

  absl::Status Escape(std::string* out) {
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c == 'u') return UnicodeEscape(out);
    constexpr absl::string_view kNames = "\"\\/bfnrt";
    constexpr absl::string_view kValues = "\"\\/\b\f\n\r\t";
    const size_t index = kNames.find(c);
    if (c == '\0' || index == absl::string_view::npos) return Error("unknown escape");
    out->push_back(kValues[index]);
    at_ += 2;
    return absl::OkStatus();
  }

  // Reads \uXXXX at at_ into *unit without moving.
  bool PeekUnit(size_t at, uint32_t* unit) const {
    if (text_.substr(at, 2) != "\\u" || at + 6 > text_.size()) return false;
    *unit = 0;
    for (size_t i = at + 2; i < at + 6; ++i) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(text_[i]))) return false;
      const char c = absl::ascii_tolower(static_cast<unsigned char>(text_[i]));
      *unit = *unit << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
  }

  absl::Status UnicodeEscape(std::string* out) {
    uint32_t unit, low;
    if (!PeekUnit(at_, &unit)) return Error("\\u needs four hexadecimal digits");
    if (unit >= 0xd800 && unit < 0xdc00 && PeekUnit(at_ + 6, &low) && low >= 0xdc00 &&
        low < 0xe000) {
      AppendCodePoint(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out);
      at_ += 12;
      return absl::OkStatus();
    }
    if (unit >= 0xd800 && unit < 0xe000) return Error("a lone surrogate is no character");
    AppendCodePoint(unit, out);
    at_ += 6;
    return absl::OkStatus();
  }

  size_t SkipDigits() {
    const size_t begin = at_;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) ++at_;
    return at_ - begin;
  }

  absl::Status Number(std::string* out) {
    const size_t begin = at_;
    if (Peek() == '-') ++at_;
    const size_t first_digit = at_;
    const size_t num_digits = SkipDigits();
    if (num_digits == 0) return Error("expected a digit");
    if (num_digits > 1 && text_[first_digit] == '0') return Error("a number starts with 0");
    bool whole = true;
    if (Peek() == '.') {
      whole = false;
      ++at_;
      if (SkipDigits() == 0) return Error("expected a digit after '.'");
    }
    if (Peek() == 'e' || Peek() == 'E') {
      whole = false;
      ++at_;
      if (Peek() == '+' || Peek() == '-') ++at_;
      if (SkipDigits() == 0) return Error("expected a digit in the exponent");
    }
    const absl::string_view number = text_.substr(begin, at_ - begin);
    if (whole) {
      if (num_digits > kMaxDigits) return Error("a whole number has too many digits");
      absl::StrAppend(out, number == "-0" ? absl::string_view("0") : number);
      return absl::OkStatus();
    }
    double value = 0;
    const auto result = absl::from_chars(number.data(), number.data() + number.size(), value);
    // Python reads what is out of range as infinity or zero; absl stops at the largest number.
    if (result.ec == std::errc::result_out_of_range && std::abs(value) > 1) {
      value = std::copysign(HUGE_VAL, value);
    }
    absl::StrAppend(out, PythonFloat(value));
    return absl::OkStatus();
  }

  absl::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string PythonFloat(double value) {
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
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

absl::StatusOr<std::string> RewriteJson(absl::string_view text) { return Rewriter(text).Rewrite(); }

}  // namespace quartet::tokenizer
