#include "tokenizer_service/pretokenizer.h"

#include <array>
#include <cstdint>

#include "tokenizer_service/unicode_tables.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

constexpr uint8_t kNotOther = kLetter | kNumber | kSpace;

// A character's flags and size.
struct Character {
  uint8_t flags;
  uint32_t num_bytes;

  bool IsOther() const { return (flags & kNotOther) == 0; }
};

// The two-stage table, with ASCII beside it where no character has to be put together.
struct Classes {
  Classes() : table(CodePointTable::Get()) {
    for (uint32_t c = 0; c < 128; ++c) ascii[c] = table.Flags(c);
  }
  const CodePointTable& table;
  std::array<uint8_t, 128> ascii;
};

const Classes& GetClasses() {
  static const Classes* const classes = new Classes();
  return *classes;
}

Character ReadCharacter(const Classes& classes, const char* p) {
  const auto byte = static_cast<unsigned char>(*p);
  if (byte < 0x80) return {classes.ascii[byte], 1};
  const CodePoint c = ReadCodePoint(p);
  return {classes.table.Flags(c.value), c.num_bytes};
}

// End of the characters at `p` that have one of `flags`.
const char* SkipFlagged(const Classes& classes, const char* p, const char* end, uint8_t flags) {
  while (p < end) {
    const Character c = ReadCharacter(classes, p);
    if ((c.flags & flags) == 0) break;
    p += c.num_bytes;
  }
  return p;
}

// End of the characters at `p` that are neither letter, number nor space.
const char* SkipOther(const Classes& classes, const char* p, const char* end) {
  while (p < end) {
    const Character c = ReadCharacter(classes, p);
    if (!c.IsOther()) break;
    p += c.num_bytes;
  }
  return p;
}

bool IsNewline(char c) { return c == '\r' || c == '\n'; }

// 's 't 're 've 'm 'll 'd at `p`, which is at the apostrophe; nullptr if none stands there.
const char* SkipContraction(const char* p, const char* end, bool ignore_case) {
  if (end - p < 2) return nullptr;
  const auto fold = [ignore_case](char c) {
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = fold(p[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if (end - p < 3) return nullptr;
  // U+017F, the long s, folds to s.
  if (ignore_case && p[1] == '\xc5' && p[2] == '\xbf') return p + 3;
  const char second = fold(p[2]);
  const bool matches = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                       (first == 'l' && second == 'l');
  return matches ? p + 3 : nullptr;
}

// \s+(?!\S)|\s+ : all spaces if the text ends there, else all but the last, which the next word may
// take. With `stop_at_lines`, \s*[\r\n]+ comes first: up to the last newline of the spaces if they
// hold one.
const char* EndOfSpaces(const Classes& classes, const char* p, const char* end,
                        bool stop_at_lines) {
  const char* const begin = p;
  const char* after_newline = nullptr;
  const char* before_last = p;
  while (p < end) {
    const Character c = ReadCharacter(classes, p);
    if ((c.flags & kSpace) == 0) break;
    before_last = p;
    p += c.num_bytes;
    if (IsNewline(*before_last)) after_newline = p;
  }
  if (stop_at_lines && after_newline != nullptr) return after_newline;
  return p == end || before_last == begin ? p : before_last;
}

const char* EndOfQwen2Word(const Classes& classes, const char* p, const char* end) {
  if (*p == '\'') {
    const char* const contraction = SkipContraction(p, end, true);
    if (contraction != nullptr) return contraction;
  }
  const Character first = ReadCharacter(classes, p);
  const char* const second = p + first.num_bytes;
  if ((first.flags & kLetter) != 0) return SkipFlagged(classes, second, end, kLetter);
  if ((first.flags & kNumber) != 0) return second;
  if (second < end) {
    const Character next = ReadCharacter(classes, second);
    if ((next.flags & kLetter) != 0 && !IsNewline(*p)) {
      return SkipFlagged(classes, second + next.num_bytes, end, kLetter);
    }
    if (first.IsOther() || (*p == ' ' && next.IsOther())) {
      p = SkipOther(classes, second, end);
      while (p < end && IsNewline(*p)) ++p;
      return p;
    }
  } else if (first.IsOther()) {
    return second;
  }
  return EndOfSpaces(classes, p, end, true);
}

const char* EndOfGpt2Word(const Classes& classes, const char* p, const char* end) {
  if (*p == '\'') {
    const char* const contraction = SkipContraction(p, end, false);
    if (contraction != nullptr) return contraction;
  }
  const char* start = p;
  if (*p == ' ' && p + 1 < end) ++start;
  const Character first = ReadCharacter(classes, start);
  const char* const second = start + first.num_bytes;
  if ((first.flags & kLetter) != 0) return SkipFlagged(classes, second, end, kLetter);
  if ((first.flags & kNumber) != 0) return SkipFlagged(classes, second, end, kNumber);
  if ((first.flags & kSpace) == 0) return SkipOther(classes, second, end);
  return EndOfSpaces(classes, p, end, false);
}

}  // namespace

WordScanner::WordScanner(absl::string_view text, SplitPattern pattern, bool individual_digits)
    : position_(text.data()),
      section_end_(text.data()),
      end_(text.data() + text.size()),
      pattern_(pattern),
      individual_digits_(individual_digits) {
  if (!individual_digits_) section_end_ = end_;
}

void WordScanner::FindSection() {
  const Classes& classes = GetClasses();
  const char* p = position_;
  while (p < end_) {
    const Character c = ReadCharacter(classes, p);
    if ((c.flags & kDigit) != 0) {
      section_end_ = p == position_ ? p + c.num_bytes : p;
      return;
    }
    p += c.num_bytes;
  }
  section_end_ = end_;
}

bool WordScanner::Next(absl::string_view* word) {
  if (position_ == end_) return false;
  if (position_ == section_end_) FindSection();
  const Classes& classes = GetClasses();
  const char* const word_end = pattern_ == SplitPattern::kQwen2
                                   ? EndOfQwen2Word(classes, position_, section_end_)
                                   : EndOfGpt2Word(classes, position_, section_end_);
  *word = absl::string_view(position_, static_cast<size_t>(word_end - position_));
  position_ = word_end;
  return true;
}

}  // namespace quartet::tokenizer
