#include "tokenizer_service/jinja/lexer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/string_literal.h"
#include "tokenizer_service/jinja/text.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

bool IsDigitChar(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// Letters beyond ASCII are taken for parts of names.
bool IsNameChar(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return absl::ascii_isalnum(byte) || c == '_' || byte >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(LexText());
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }

  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  absl::string_view Rest() const { return source_.substr(at_); }

  // Moves on, counting lines.
  void Skip(size_t num_bytes) {
    for (const char c : source_.substr(at_, num_bytes)) line_ += c == '\n' ? 1 : 0;
    at_ += num_bytes;
  }

  void SkipSpace() { Skip(Rest().size() - StripLeft(Rest()).size()); }

  bool Take(absl::string_view what) {
    if (!absl::StartsWith(Rest(), what)) return false;
    Skip(what.size());
    return true;
  }

  // What a tag's opening leaves of the text in front of it: nothing of the white space with a
  // minus sign; without the indentation of the tag's line for blocks and comments.
  static absl::string_view StripBefore(absl::string_view text, char sign, bool is_variable,
                                       bool at_line_start) {
    if (sign == '-') return StripRight(text);
    if (sign == '+' || is_variable) return text;
    const size_t line_begin = text.rfind('\n') + 1;  // npos + 1 == 0
    if (line_begin == 0 && !at_line_start) return text;
    return Strip(text.substr(line_begin)).empty() ? text.substr(0, line_begin) : text;
  }

  // Takes the end of a tag: "-%}" with all white space behind it, "%}" with the line's end,
  // "+%}" alone.
  bool TakeEnd(absl::string_view end, bool takes_line_end) {
    if (Take(absl::StrCat("-", end))) {
      SkipSpace();
      return true;
    }
    if (takes_line_end && Take(absl::StrCat("+", end))) return true;
    if (!Take(end)) return false;
    if (takes_line_end) Take("\n");
    return true;
  }

  absl::Status LexText() {
    size_t open = at_;
    do {
      open = source_.find('{', open);
      if (open == absl::string_view::npos || open + 1 >= source_.size()) {
        Add(TokenKind::kText, std::string(Rest()));
        Skip(Rest().size());
        return absl::OkStatus();
      }
      ++open;
    } while (source_[open] != '{' && source_[open] != '%' && source_[open] != '#');
    const char tag = source_[open];
    const char after = open + 1 < source_.size() ? source_[open + 1] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    const bool at_line_start = at_ == 0 || source_[at_ - 1] == '\n';
    const absl::string_view text =
        StripBefore(source_.substr(at_, open - 1 - at_), sign, tag == '{', at_line_start);
    if (!text.empty()) Add(TokenKind::kText, std::string(text));
    Skip(open - 1 - at_);
    const size_t tag_begin = at_;
    Skip(sign == '\0' ? 2 : 3);
    if (tag == '#') return SkipComment();
    if (tag == '%' && TakeRawBegin()) return LexRaw();
    Add(tag == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
    return LexTag(tag == '{', tag_begin);
  }

  absl::Status SkipComment() {
    const int begin_line = line_;
    const size_t end = source_.find("#}", at_);
    if (end == absl::string_view::npos) {
      line_ = begin_line;
      return Error("a comment {# has no end #}");
    }
    const bool signed_end = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    Skip(end - at_ - (signed_end ? 1 : 0));
    TakeEnd("#}", true);
    return absl::OkStatus();
  }

  // The rest of {% raw %} behind its opening; moves only if it is one.
  bool TakeRawBegin() {
    absl::string_view rest = StripLeft(Rest());
    if (!absl::ConsumePrefix(&rest, "raw")) return false;
    rest = StripLeft(rest);
    const bool minus = absl::ConsumePrefix(&rest, "-%}");
    if (!minus && !absl::ConsumePrefix(&rest, "%}")) return false;
    Skip(Rest().size() - rest.size());
    if (minus) SkipSpace();
    return true;
  }

  absl::Status LexRaw() {
    const bool at_line_start = source_[at_ - 1] == '\n';
    const size_t begin = at_;
    for (size_t open = source_.find("{%", at_); open != absl::string_view::npos;
         open = source_.find("{%", open + 1)) {
      absl::string_view rest = source_.substr(open + 2);
      const char sign = !rest.empty() && (rest[0] == '-' || rest[0] == '+') ? rest[0] : '\0';
      if (sign != '\0') rest.remove_prefix(1);
      rest = StripLeft(rest);
      if (!absl::ConsumePrefix(&rest, "endraw")) continue;
      rest = StripLeft(rest);
      if (!absl::StartsWith(rest, "%}") && !absl::StartsWith(rest, "-%}") &&
          !absl::StartsWith(rest, "+%}")) {
        continue;
      }
      Add(TokenKind::kText, std::string(StripBefore(source_.substr(begin, open - begin), sign,
                                                    false, at_line_start)));
      Skip(Rest().size() - rest.size());
      TakeEnd("%}", true);
      return absl::OkStatus();
    }
    return Error("{% raw %} has no {% endraw %}");
  }

  // The tokens up to the end of a {{ or {% tag that begins at `tag_begin`.
  absl::Status LexTag(bool is_variable, size_t tag_begin) {
    const int begin_line = line_;
    std::string open_brackets;
    while (true) {
      if (open_brackets.empty() && TakeEnd(is_variable ? "}}" : "%}", !is_variable)) {
        Add(is_variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "");
        return absl::OkStatus();
      }
      if (at_ == source_.size()) {
        line_ = begin_line;
        return Error(absl::StrCat("the tag beginning \"",
                                  absl::Utf8SafeCHexEscape(source_.substr(tag_begin, 40)),
                                  "\" has no end"));
      }
      RETURN_IF_ERROR(LexToken(&open_brackets));
    }
  }

  absl::Status LexToken(std::string* open_brackets) {
    const char c = Rest()[0];
    if (IsSpace(ReadCodePoint(Rest().data()).value)) {
      SkipSpace();
      return absl::OkStatus();
    }
    if (c == '"' || c == '\'') return LexString(c);
    if (IsDigitChar(c)) return LexNumber();
    if (IsNameChar(c)) {
      size_t length = 1;
      while (length < Rest().size() && IsNameChar(Rest()[length])) ++length;
      Add(TokenKind::kName, std::string(Rest().substr(0, length)));
      Skip(length);
      return absl::OkStatus();
    }
    return LexOperator(open_brackets);
  }

  absl::Status LexString(char quote) {
    size_t length = 1;
    while (length < Rest().size() && Rest()[length] != quote) {
      length += Rest()[length] == '\\' ? 2 : 1;
    }
    if (length >= Rest().size()) return Error("a text has no closing quote");
    absl::StatusOr<std::string> text = ParseStringLiteral(Rest().substr(1, length - 1));
    if (!text.ok()) return Error(text.status().message());
    Add(TokenKind::kString, *std::move(text));
    Skip(length + 1);
    return absl::OkStatus();
  }

  // The length of digits from `begin` on; underscores may stand between them.
  size_t NumDigits(size_t begin) const {
    size_t end = begin;
    while (end < source_.size() && (IsDigitChar(source_[end]) ||
                                    (source_[end] == '_' && end > begin &&
                                     end + 1 < source_.size() && IsDigitChar(source_[end + 1])))) {
      ++end;
    }
    return end - begin;
  }

  absl::Status LexNumber() {
    size_t length = NumDigits(at_);
    const bool after_point = at_ > 0 && source_[at_ - 1] == '.';
    bool is_float = false;
    if (!after_point && at_ + length < source_.size() && source_[at_ + length] == '.' &&
        NumDigits(at_ + length + 1) > 0) {
      length += 1 + NumDigits(at_ + length + 1);
      is_float = true;
    }
    const size_t e = at_ + length;
    if (!after_point && e < source_.size() && (source_[e] == 'e' || source_[e] == 'E')) {
      const bool sign = e + 1 < source_.size() && (source_[e + 1] == '+' || source_[e + 1] == '-');
      const size_t num_digits = NumDigits(e + (sign ? 2 : 1));
      if (num_digits > 0) {
        length += (sign ? 2 : 1) + num_digits;
        is_float = true;
      }
    }
    const std::string digits = absl::StrReplaceAll(source_.substr(at_, length), {{"_", ""}});
    if (at_ + length < source_.size() && IsNameChar(source_[at_ + length])) {
      return Error(absl::StrCat("numbers like \"", digits, std::string(1, source_[at_ + length]),
                                "...\" are not supported"));
    }
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
    Skip(length);
    return absl::OkStatus();
  }

  absl::Status LexOperator(std::string* open_brackets) {
    for (const absl::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!absl::StartsWith(Rest(), op)) continue;
      Add(TokenKind::kOperator, std::string(op));
      Skip(2);
      return absl::OkStatus();
    }
    const char c = Rest()[0];
    constexpr absl::string_view kOperators = "+-/*%~[](){}><=.:|,;";
    if (kOperators.find(c) == absl::string_view::npos) {
      const size_t num_bytes = ReadCodePoint(Rest().data()).num_bytes;
      return Error(absl::StrCat("unexpected character \"",
                                absl::Utf8SafeCHexEscape(Rest().substr(0, num_bytes)), "\""));
    }
    if (c == '(' || c == '[' || c == '{') open_brackets->push_back(c);
    if (c == ')' || c == ']' || c == '}') {
      const char expected = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open_brackets->empty() || open_brackets->back() != expected) {
        return Error(absl::StrCat("'", std::string(1, c), "' closes nothing"));
      }
      open_brackets->pop_back();
    }
    Add(TokenKind::kOperator, std::string(1, c));
    Skip(1);
    return absl::OkStatus();
  }

  const absl::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return Lexer(text).Run();
}

}  // namespace quartet::tokenizer::jinja
