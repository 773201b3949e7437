#include "worker/grammar/regex_grammar.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace quartet::grammar {
namespace {

constexpr int kMaxDepth = 100;

CharacterSet Digits() { return CharacterSet::Of("0123456789"); }

CharacterSet WordCharacters() {
  CharacterSet set = Digits();
  set.Add('a', 'z');
  set.Add('A', 'Z');
  set.Add('_', '_');
  return set;
}

// ECMAScript's white space and line ends.
CharacterSet Spaces() {
  CharacterSet set = CharacterSet::Of(" \t\n\v\f\r");
  for (const uint32_t c : {0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff}) {
    set.Add(c, c);
  }
  set.Add(0x2000, 0x200a);
  return set;
}

CharacterSet AllButLineEnds() {
  CharacterSet ends = CharacterSet::Of("\n\r");
  ends.Add(0x2028, 0x2029);
  return ends.Complement();
}

std::string Class(const CharacterSet& set) {
  std::string text = "[";
  for (const CharacterSet::Range& range : set.ranges()) {
    absl::StrAppend(&text, absl::StrFormat("\\u{%x}", range.first));
    if (range.last > range.first) absl::StrAppend(&text, absl::StrFormat("-\\u{%x}", range.last));
  }
  return text + "]";
}

// What matches one character of the set in this context; empty if nothing does.
std::string CharacterExpression(const CharacterSet& set, RegexContext context) {
  if (context == RegexContext::kText) return set.empty() ? "" : Class(set);
  CharacterSet escaped = CharacterSet::Of("\"\\");
  escaped.Add(0, 0x1f);
  const CharacterSet plain = set.Without(escaped);
  std::vector<std::string> alternatives;
  if (!plain.empty()) alternatives.push_back(Class(plain));
  constexpr absl::string_view kNames = "\"\\bfnrt";
  constexpr absl::string_view kValues = "\"\\\b\f\n\r\t";
  std::string names;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (set.Contains(static_cast<unsigned char>(kValues[i]))) names.push_back(kNames[i]);
  }
  if (!names.empty()) {
    alternatives.push_back(
        absl::StrCat(Class(CharacterSet::Of("\\")), Class(CharacterSet::Of(names))));
  }
  if (alternatives.size() <= 1) return absl::StrJoin(alternatives, "");
  return absl::StrCat("(", absl::StrJoin(alternatives, "|"), ")");
}

// Reads the expression from left to right and writes what it means in the few forms that
// xgrammar's automata honour exactly. One use.
class Reader {
 public:
  Reader(std::vector<uint32_t> regex, RegexContext context)
      : regex_(std::move(regex)), context_(context) {}

  absl::StatusOr<std::string> Read() {
    ASSIGN_OR_RETURN(std::string expression, Alternatives(0, 1));
    if (!AtEnd()) return Error("')' closes no group");
    return expression;
  }

 private:
  struct Repetition {
    int64_t min = 1;
    int64_t max = 1;  // -1: without end
  };

  bool AtEnd() const { return at_ >= regex_.size(); }
  uint32_t Peek(size_t ahead = 0) const {
    return at_ + ahead < regex_.size() ? regex_[at_ + ahead] : 0;
  }
  bool Take(uint32_t c) {
    if (AtEnd() || regex_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("the regular expression's character ", at_, ": ", what));
  }

  // `factor`: how often all of it may be repeated by what it stands in.
  absl::StatusOr<std::string> Alternatives(int depth, int64_t factor) {
    if (depth > kMaxDepth) {
      return Error(absl::StrCat("groups are nested deeper than ", kMaxDepth));
    }
    std::vector<std::string> alternatives;
    do {
      ASSIGN_OR_RETURN(std::string sequence, Sequence(depth, factor));
      alternatives.push_back(std::move(sequence));
    } while (Take('|'));
    if (alternatives.size() == 1) return alternatives[0];
    return absl::StrCat("(", absl::StrJoin(alternatives, "|"), ")");
  }

  absl::StatusOr<std::string> Sequence(int depth, int64_t factor) {
    std::vector<std::string> parts;
    if (depth == 0) Take('^');
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      if (Peek() == '$' && depth == 0 && (at_ + 1 == regex_.size() || Peek(1) == '|')) {
        ++at_;
        break;
      }
      // What is repeated is read before its count is known, so it is read twice if need be.
      const size_t start = at_;
      ASSIGN_OR_RETURN(std::string atom, Atom(depth, factor));
      ASSIGN_OR_RETURN(const std::optional<Repetition> repetition, ReadRepetition());
      if (!repetition.has_value()) {
        parts.push_back(std::move(atom));
        continue;
      }
      const int64_t times = std::max<int64_t>({repetition->max, repetition->min, 1});
      if (times * factor > kMaxRegexRepetition) {
        return Error(absl::StrCat("repetitions multiply to ", times * factor, ", at most ",
                                  kMaxRegexRepetition, " are served"));
      }
      if (times > 1) {
        const size_t end = at_;
        at_ = start;
        RETURN_IF_ERROR(Atom(depth, times * factor).status());
        at_ = end;
      }
      parts.push_back(absl::StrCat("(", atom, ")", Suffix(*repetition)));
    }
    return parts.empty() ? "()" : absl::StrJoin(parts, "");
  }

  static std::string Suffix(const Repetition& repetition) {
    if (repetition.max < 0 && repetition.min <= 1) return repetition.min == 0 ? "*" : "+";
    if (repetition.min == 0 && repetition.max == 1) return "?";
    if (repetition.max < 0) return absl::StrCat("{", repetition.min, ",}");
    return absl::StrCat("{", repetition.min, ",", repetition.max, "}");
  }

  absl::StatusOr<std::string> Atom(int depth, int64_t factor) {
    const uint32_t c = regex_[at_];
    if (c == '(') return Group(depth, factor);
    if (c == '[') {
      ++at_;
      ASSIGN_OR_RETURN(const CharacterSet set, ReadClass());
      return Characters(set);
    }
    if (c == '^' || c == '$') {
      return Error("an anchor inside the expression can't be honoured; leave it out");
    }
    if (c == '*' || c == '+' || c == '?' || (c == '{' && IsCount())) {
      return Error("nothing stands before the repetition");
    }
    ++at_;
    if (c == '.') return Characters(AllButLineEnds());
    if (c == '\\') {
      ASSIGN_OR_RETURN(const CharacterSet set, Escape(/*in_class=*/false));
      return Characters(set);
    }
    CharacterSet set;
    set.Add(c, c);
    return Characters(set);
  }

  absl::StatusOr<std::string> Characters(const CharacterSet& set) const {
    std::string expression = CharacterExpression(set, context_);
    if (expression.empty()) return Error("no character matches here");
    return expression;
  }

  absl::StatusOr<std::string> Group(int depth, int64_t factor) {
    ++at_;
    if (Take('?')) {
      if (Take('<')) {
        if (Peek() == '=' || Peek() == '!') return Error("look-behind can't be honoured");
        while (!AtEnd() && Peek() != '>') ++at_;
        if (!Take('>')) return Error("the group's name has no '>'");
      } else if (Peek() == '=' || Peek() == '!') {
        return Error("look-ahead can't be honoured");
      } else if (!Take(':')) {
        return Error("unknown kind of group; (...), (?:...) and (?<name>...) are served");
      }
    }
    ASSIGN_OR_RETURN(std::string inside, Alternatives(depth + 1, factor));
    if (!Take(')')) return Error("a group has no ')'");
    return absl::StrCat("(", inside, ")");
  }

  bool IsCount() const {
    size_t i = at_ + 1;
    const size_t first_digit = i;
    const auto skip_digits = [&] {
      while (i < regex_.size() && regex_[i] < 0x80 && absl::ascii_isdigit(regex_[i])) ++i;
    };
    skip_digits();
    if (i == first_digit) return false;
    if (i < regex_.size() && regex_[i] == ',') {
      ++i;
      skip_digits();
    }
    return i < regex_.size() && regex_[i] == '}';
  }

  absl::StatusOr<int64_t> Number() {
    int64_t number = 0;
    while (!AtEnd() && Peek() >= '0' && Peek() <= '9') {
      number = number * 10 + (regex_[at_++] - '0');
      if (number > kMaxRegexRepetition) {
        return Error(absl::StrCat("a repetition of more than ", kMaxRegexRepetition));
      }
    }
    return number;
  }

  absl::StatusOr<std::optional<Repetition>> ReadRepetition() {
    std::optional<Repetition> repetition;
    if (Take('*')) {
      repetition = Repetition{0, -1};
    } else if (Take('+')) {
      repetition = Repetition{1, -1};
    } else if (Take('?')) {
      repetition = Repetition{0, 1};
    } else if (!AtEnd() && Peek() == '{' && IsCount()) {
      ++at_;
      repetition.emplace();
      ASSIGN_OR_RETURN(repetition->min, Number());
      repetition->max = repetition->min;
      if (Take(',')) {
        repetition->max = -1;
        if (Peek() != '}') {
          ASSIGN_OR_RETURN(repetition->max, Number());
        }
      }
      Take('}');
      if (repetition->max >= 0 && repetition->max < repetition->min) {
        return Error("a repetition's least is above its most");
      }
    } else {
      return repetition;
    }
    Take('?');  // lazy ones match the same texts
    if (!AtEnd() &&
        (Peek() == '*' || Peek() == '+' || Peek() == '?' || (Peek() == '{' && IsCount()))) {
      return Error("a repetition follows another");
    }
    return repetition;
  }

  // After the bracket.
  absl::StatusOr<CharacterSet> ReadClass() {
    CharacterSet set;
    const bool is_negated = Take('^');
    while (!Take(']')) {
      if (AtEnd()) return Error("a class has no ']'");
      ASSIGN_OR_RETURN(const CharacterSet first, ClassItem());
      if (Peek() != '-' || Peek(1) == ']' || at_ + 1 >= regex_.size()) {
        set.Add(first);
        continue;
      }
      ++at_;
      ASSIGN_OR_RETURN(const CharacterSet last, ClassItem());
      if (!IsSingle(first) || !IsSingle(last) || first.ranges()[0].first > last.ranges()[0].first) {
        return Error("a range in a class makes no sense");
      }
      set.Add(first.ranges()[0].first, last.ranges()[0].first);
    }
    return is_negated ? set.Complement() : set;
  }

  static bool IsSingle(const CharacterSet& set) {
    return set.ranges().size() == 1 && set.ranges()[0].first == set.ranges()[0].last;
  }

  absl::StatusOr<CharacterSet> ClassItem() {
    const uint32_t c = regex_[at_++];
    if (c == '\\') return Escape(/*in_class=*/true);
    CharacterSet set;
    set.Add(c, c);
    return set;
  }

  absl::StatusOr<uint32_t> Hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const uint32_t c = Peek();
      if (c >= 0x80 || !absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
        return Error("an escape lacks hexadecimal digits");
      }
      ++at_;
      value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
  }

  absl::StatusOr<uint32_t> UnicodeEscape() {
    if (!Take('{')) {
      ASSIGN_OR_RETURN(const uint32_t high, Hex(4));
      if (high < 0xd800 || high > 0xdbff || Peek() != '\\' || Peek(1) != 'u') return high;
      at_ += 2;
      ASSIGN_OR_RETURN(const uint32_t low, Hex(4));
      return 0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff);
    }
    uint32_t value = 0;
    while (!Take('}')) {
      ASSIGN_OR_RETURN(const uint32_t digit, Hex(1));
      value = value * 16 + digit;
      if (value > kMaxCodePoint) return Error("no such code point");
    }
    return value;
  }

  // After the backslash.
  absl::StatusOr<CharacterSet> Escape(bool in_class) {
    if (AtEnd()) return Error("a backslash escapes nothing");
    const uint32_t c = regex_[at_++];
    switch (c) {
      case 'd':
        return Digits();
      case 'D':
        return Digits().Complement();
      case 'w':
        return WordCharacters();
      case 'W':
        return WordCharacters().Complement();
      case 's':
        return Spaces();
      case 'S':
        return Spaces().Complement();
      default:
        break;
    }
    ASSIGN_OR_RETURN(const uint32_t code_point, EscapedCharacter(c, in_class));
    CharacterSet set;
    set.Add(code_point, code_point);
    if (set.empty()) return Error("a lone surrogate is no character");
    return set;
  }

  absl::StatusOr<uint32_t> EscapedCharacter(uint32_t c, bool in_class) {
    constexpr absl::string_view kNames = "ntrfv0";
    constexpr absl::string_view kValues("\n\t\r\f\v\0", 6);
    if (c < 0x80 && kNames.find(static_cast<char>(c)) != absl::string_view::npos) {
      return static_cast<unsigned char>(kValues[kNames.find(static_cast<char>(c))]);
    }
    if (c == 'b' && in_class) return '\b';
    if (c == 'x') return Hex(2);
    if (c == 'u') return UnicodeEscape();
    if (c < 0x80 && absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      return Error(absl::StrCat("\\", std::string(1, static_cast<char>(c)),
                                " can't be honoured (word boundary, back-reference, property "
                                "or unknown escape)"));
    }
    return c;
  }

  const std::vector<uint32_t> regex_;
  const RegexContext context_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::string> RegexExpression(absl::string_view regex, RegexContext context) {
  std::vector<uint32_t> code_points;
  if (!DecodeUtf8(regex, &code_points)) {
    return absl::InvalidArgumentError("the regular expression is not UTF-8");
  }
  ASSIGN_OR_RETURN(const std::string plain, Reader(std::move(code_points), context).Read());
  return absl::StrCat("Regex(", LiteralExpression(plain), ")");
}

}  // namespace quartet::grammar
