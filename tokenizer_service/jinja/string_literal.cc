#include "tokenizer_service/jinja/string_literal.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

uint32_t DigitValue(char c) {
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return static_cast<uint32_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
}

// A code point of exactly `num_digits` hexadecimal digits at the front of *rest.
absl::Status TakeHex(char kind, size_t num_digits, absl::string_view* rest, std::string* out) {
  uint32_t code_point = 0;
  for (size_t i = 0; i < num_digits; ++i) {
    if (i >= rest->size() || !absl::ascii_isxdigit(static_cast<unsigned char>((*rest)[i]))) {
      return absl::InvalidArgumentError(
          absl::StrCat("\\", std::string(1, kind), " needs ", num_digits, " hexadecimal digits"));
    }
    code_point = code_point << 4 | DigitValue((*rest)[i]);
  }
  if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\\", std::string(1, kind), " names no character"));
  }
  AppendCodePoint(code_point, out);
  rest->remove_prefix(num_digits);
  return absl::OkStatus();
}

void TakeOctal(absl::string_view* rest, std::string* out) {
  uint32_t code_point = 0;
  for (int i = 0; i < 3 && !rest->empty() && (*rest)[0] >= '0' && (*rest)[0] <= '7'; ++i) {
    code_point = code_point << 3 | DigitValue((*rest)[0]);
    rest->remove_prefix(1);
  }
  AppendCodePoint(code_point, out);
}

// What follows a backslash.
absl::Status TakeEscape(absl::string_view* rest, std::string* out) {
  constexpr absl::string_view kNames = "\\'\"abfnrtv";
  constexpr absl::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
  const char c = (*rest)[0];
  if (c >= '0' && c <= '7') {
    TakeOctal(rest, out);
    return absl::OkStatus();
  }
  if (static_cast<unsigned char>(c) >= 0x80) {
    return absl::InvalidArgumentError("a backslash before such a character is not supported");
  }
  rest->remove_prefix(1);
  if (c == '\n') return absl::OkStatus();
  if (c == 'x') return TakeHex(c, 2, rest, out);
  if (c == 'u') return TakeHex(c, 4, rest, out);
  if (c == 'U') return TakeHex(c, 8, rest, out);
  if (c == 'N') return absl::InvalidArgumentError("\\N{...} in a text is not supported");
  const size_t index = kNames.find(c);
  if (index != absl::string_view::npos) {
    out->push_back(kValues[index]);
  } else {
    out->push_back('\\');
    out->push_back(c);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ParseStringLiteral(absl::string_view rest) {
  std::string out;
  while (!rest.empty()) {
    const size_t at = rest.find('\\');
    absl::StrAppend(&out, rest.substr(0, at));
    if (at == absl::string_view::npos) break;
    rest.remove_prefix(at + 1);
    if (rest.empty()) return absl::InvalidArgumentError("a text ends with a single backslash");
    RETURN_IF_ERROR(TakeEscape(&rest, &out));
  }
  return out;
}

}  // namespace quartet::tokenizer::jinja
