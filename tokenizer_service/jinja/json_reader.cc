#include "tokenizer_service/jinja/json_reader.h"

#include <cmath>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

constexpr int kMaxDepth = 200;
// Python refuses to read longer whole numbers.
constexpr size_t kMaxDigits = 4300;

class Reader {
 public:
  Reader(absl::string_view text, Heap* heap) : text_(text), heap_(heap) {}

  absl::StatusOr<Value> Read() {
    const size_t invalid = FindInvalidUtf8(text_);
    if (invalid != absl::string_view::npos) {
      at_ = invalid;
      return Error("is not UTF-8");
    }
    ASSIGN_OR_RETURN(const Value value, ReadValue(0));
    SkipSpace();
    if (at_ != text_.size()) return Error("something follows the value");
    return value;
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

  absl::StatusOr<Value> ReadValue(int depth) {
    SkipSpace();
    if (at_ == text_.size()) return Error("a value is missing");
    if (depth == kMaxDepth) return Error(absl::StrCat("nested more than ", kMaxDepth, " deep"));
    const char c = Peek();
    if (c == '{') return ReadObject(depth);
    if (c == '[') return ReadArray(depth);
    if (c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c))) return ReadNumber();
    if (c == '"') {
      std::string text;
      RETURN_IF_ERROR(ReadString(&text));
      return heap_->NewString(std::move(text));
    }
    if (TakeWord("true")) return Value::Bool(true);
    if (TakeWord("false")) return Value::Bool(false);
    if (TakeWord("null")) return Value::None();
    return Error("expected a value");
  }

  absl::StatusOr<Value> ReadArray(int depth) {
    ++at_;
    std::vector<Value> items;
    SkipSpace();
    if (Peek() == ']') {
      ++at_;
      return heap_->NewList({});
    }
    while (true) {
      ASSIGN_OR_RETURN(const Value item, ReadValue(depth + 1));
      items.push_back(item);
      SkipSpace();
      const char c = Peek();
      if (c != ']' && c != ',') return Error("expected ',' or ']'");
      ++at_;
      if (c == ']') return heap_->NewList(std::move(items));
    }
  }

  absl::StatusOr<Value> ReadObject(int depth) {
    ++at_;
    Dict* const dict = heap_->NewDict();
    SkipSpace();
    if (Peek() == '}') {
      ++at_;
      return Value::Of(dict);
    }
    while (true) {
      SkipSpace();
      if (Peek() != '"') return Error("expected a key");
      std::string key;
      RETURN_IF_ERROR(ReadString(&key));
      SkipSpace();
      if (Peek() != ':') return Error("expected ':'");
      ++at_;
      ASSIGN_OR_RETURN(const Value value, ReadValue(depth + 1));
      dict->Set(heap_->NewString(std::move(key)), value);
      heap_->CountEntries(1);
      SkipSpace();
      const char c = Peek();
      if (c != '}' && c != ',') return Error("expected ',' or '}'");
      ++at_;
      if (c == '}') return Value::Of(dict);
    }
  }

  absl::Status ReadString(std::string* out) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return absl::OkStatus();
      }
      if (static_cast<unsigned char>(c) < 0x20) return Error("a control character in a string");
      if (c == '\\') {
        RETURN_IF_ERROR(ReadEscape(out));
      } else {
        out->push_back(c);
        ++at_;
      }
    }
    return Error("a string does not end");
  }

  absl::Status ReadEscape(std::string* out) {
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c == 'u') return ReadUnicodeEscape(out);
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

  absl::Status ReadUnicodeEscape(std::string* out) {
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

  absl::StatusOr<Value> ReadNumber() {
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
    if (!whole) return ToFloat(number);
    if (num_digits > kMaxDigits) return Error("a whole number has too many digits");
    int64_t small = 0;
    if (absl::SimpleAtoi(number, &small)) return Value::Int(small);
    return Value::BigInt(heap_->Keep(std::string(number)));
  }

  static Value ToFloat(absl::string_view number) {
    double value = 0;
    const auto result = absl::from_chars(number.data(), number.data() + number.size(), value);
    // Python reads what is out of range as infinity or zero; absl stops at the largest number.
    if (result.ec == std::errc::result_out_of_range && std::abs(value) > 1) {
      value = std::copysign(HUGE_VAL, value);
    }
    return Value::Float(value);
  }

  absl::string_view text_;
  Heap* const heap_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<Value> ReadJson(absl::string_view text, Heap* heap) {
  return Reader(text, heap).Read();
}

}  // namespace quartet::tokenizer::jinja
