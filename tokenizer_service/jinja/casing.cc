// Upper and lower case as Python's strings have them: full mappings (one character may become
// three), and the Greek final sigma. The simple mappings are utf8proc's.
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "tokenizer_service/jinja/text.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

struct SpecialCase {
  uint32_t code_point;
  const char* upper;
  const char* title;
};

// The characters whose upper or title case is more than one character (Unicode's
// SpecialCasing.txt), in order.
// clang-format off
constexpr SpecialCase kSpecialCases[] = {
    {0x00df, "SS", "Ss"}, {0x0149, "ʼN", "ʼN"}, {0x01f0, "J̌", "J̌"}, {0x0390, "Ϊ́", "Ϊ́"},
    {0x03b0, "Ϋ́", "Ϋ́"}, {0x0587, "ԵՒ", "Եւ"}, {0x1e96, "H̱", "H̱"}, {0x1e97, "T̈", "T̈"},
    {0x1e98, "W̊", "W̊"}, {0x1e99, "Y̊", "Y̊"}, {0x1e9a, "Aʾ", "Aʾ"}, {0x1f50, "Υ̓", "Υ̓"},
    {0x1f52, "Υ̓̀", "Υ̓̀"}, {0x1f54, "Υ̓́", "Υ̓́"}, {0x1f56, "Υ̓͂", "Υ̓͂"},
    {0x1f80, "ἈΙ", "ᾈ"}, {0x1f81, "ἉΙ", "ᾉ"}, {0x1f82, "ἊΙ", "ᾊ"}, {0x1f83, "ἋΙ", "ᾋ"},
    {0x1f84, "ἌΙ", "ᾌ"}, {0x1f85, "ἍΙ", "ᾍ"}, {0x1f86, "ἎΙ", "ᾎ"}, {0x1f87, "ἏΙ", "ᾏ"},
    {0x1f88, "ἈΙ", "ᾈ"}, {0x1f89, "ἉΙ", "ᾉ"}, {0x1f8a, "ἊΙ", "ᾊ"}, {0x1f8b, "ἋΙ", "ᾋ"},
    {0x1f8c, "ἌΙ", "ᾌ"}, {0x1f8d, "ἍΙ", "ᾍ"}, {0x1f8e, "ἎΙ", "ᾎ"}, {0x1f8f, "ἏΙ", "ᾏ"},
    {0x1f90, "ἨΙ", "ᾘ"}, {0x1f91, "ἩΙ", "ᾙ"}, {0x1f92, "ἪΙ", "ᾚ"}, {0x1f93, "ἫΙ", "ᾛ"},
    {0x1f94, "ἬΙ", "ᾜ"}, {0x1f95, "ἭΙ", "ᾝ"}, {0x1f96, "ἮΙ", "ᾞ"}, {0x1f97, "ἯΙ", "ᾟ"},
    {0x1f98, "ἨΙ", "ᾘ"}, {0x1f99, "ἩΙ", "ᾙ"}, {0x1f9a, "ἪΙ", "ᾚ"}, {0x1f9b, "ἫΙ", "ᾛ"},
    {0x1f9c, "ἬΙ", "ᾜ"}, {0x1f9d, "ἭΙ", "ᾝ"}, {0x1f9e, "ἮΙ", "ᾞ"}, {0x1f9f, "ἯΙ", "ᾟ"},
    {0x1fa0, "ὨΙ", "ᾨ"}, {0x1fa1, "ὩΙ", "ᾩ"}, {0x1fa2, "ὪΙ", "ᾪ"}, {0x1fa3, "ὫΙ", "ᾫ"},
    {0x1fa4, "ὬΙ", "ᾬ"}, {0x1fa5, "ὭΙ", "ᾭ"}, {0x1fa6, "ὮΙ", "ᾮ"}, {0x1fa7, "ὯΙ", "ᾯ"},
    {0x1fa8, "ὨΙ", "ᾨ"}, {0x1fa9, "ὩΙ", "ᾩ"}, {0x1faa, "ὪΙ", "ᾪ"}, {0x1fab, "ὫΙ", "ᾫ"},
    {0x1fac, "ὬΙ", "ᾬ"}, {0x1fad, "ὭΙ", "ᾭ"}, {0x1fae, "ὮΙ", "ᾮ"}, {0x1faf, "ὯΙ", "ᾯ"},
    {0x1fb2, "ᾺΙ", "Ὰͅ"}, {0x1fb3, "ΑΙ", "ᾼ"}, {0x1fb4, "ΆΙ", "Άͅ"}, {0x1fb6, "Α͂", "Α͂"},
    {0x1fb7, "Α͂Ι", "ᾼ͂"}, {0x1fbc, "ΑΙ", "ᾼ"}, {0x1fc2, "ῊΙ", "Ὴͅ"}, {0x1fc3, "ΗΙ", "ῌ"},
    {0x1fc4, "ΉΙ", "Ήͅ"}, {0x1fc6, "Η͂", "Η͂"}, {0x1fc7, "Η͂Ι", "ῌ͂"}, {0x1fcc, "ΗΙ", "ῌ"},
    {0x1fd2, "Ϊ̀", "Ϊ̀"}, {0x1fd3, "Ϊ́", "Ϊ́"}, {0x1fd6, "Ι͂", "Ι͂"},
    {0x1fd7, "Ϊ͂", "Ϊ͂"}, {0x1fe2, "Ϋ̀", "Ϋ̀"}, {0x1fe3, "Ϋ́", "Ϋ́"},
    {0x1fe4, "Ρ̓", "Ρ̓"}, {0x1fe6, "Υ͂", "Υ͂"}, {0x1fe7, "Ϋ͂", "Ϋ͂"}, {0x1ff2, "ῺΙ", "Ὼͅ"},
    {0x1ff3, "ΩΙ", "ῼ"}, {0x1ff4, "ΏΙ", "Ώͅ"}, {0x1ff6, "Ω͂", "Ω͂"}, {0x1ff7, "Ω͂Ι", "ῼ͂"},
    {0x1ffc, "ΩΙ", "ῼ"}, {0xfb00, "FF", "Ff"}, {0xfb01, "FI", "Fi"}, {0xfb02, "FL", "Fl"},
    {0xfb03, "FFI", "Ffi"}, {0xfb04, "FFL", "Ffl"}, {0xfb05, "ST", "St"}, {0xfb06, "ST", "St"},
    {0xfb13, "ՄՆ", "Մն"}, {0xfb14, "ՄԵ", "Մե"}, {0xfb15, "ՄԻ", "Մի"}, {0xfb16, "ՎՆ", "Վն"},
    {0xfb17, "ՄԽ", "Մխ"},
};
// clang-format on

constexpr uint32_t kCapitalSigma = 0x3a3;
constexpr uint32_t kCapitalDottedI = 0x130;

const SpecialCase* FindSpecialCase(uint32_t code_point) {
  const SpecialCase* const found = std::lower_bound(
      std::begin(kSpecialCases), std::end(kSpecialCases), code_point,
      [](const SpecialCase& entry, uint32_t wanted) { return entry.code_point < wanted; });
  const bool is_there = found != std::end(kSpecialCases) && found->code_point == code_point;
  return is_there ? found : nullptr;
}

void AppendUpper(uint32_t c, std::string* out) {
  if (const SpecialCase* const special = FindSpecialCase(c); special != nullptr) {
    out->append(special->upper);
  } else {
    AppendCodePoint(static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

void AppendTitle(uint32_t c, std::string* out) {
  if (const SpecialCase* const special = FindSpecialCase(c); special != nullptr) {
    out->append(special->title);
  } else {
    AppendCodePoint(static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
  }
}

utf8proc_category_t Category(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool IsCased(uint32_t c) {
  const utf8proc_category_t category = Category(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

// What stands between letters of a word without being one.
bool IsCaseIgnorable(uint32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019;
  }
}

// Whether the sigma at byte `at` of `text` ends a word.
bool IsFinalSigma(absl::string_view text, size_t at) {
  bool follows_letter = false;
  for (size_t before = at; before > 0;) {
    const CodePoint c = ReadCodePointBefore(text.data() + before);
    before -= c.num_bytes;
    if (IsCaseIgnorable(c.value)) continue;
    follows_letter = IsCased(c.value);
    break;
  }
  if (!follows_letter) return false;
  for (size_t after = at + ReadCodePoint(text.data() + at).num_bytes; after < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + after);
    after += c.num_bytes;
    if (!IsCaseIgnorable(c.value)) return !IsCased(c.value);
  }
  return true;
}

// Appends the lower case of the character at byte `at`; returns its size.
size_t AppendLower(absl::string_view text, size_t at, std::string* out) {
  const CodePoint c = ReadCodePoint(text.data() + at);
  if (c.value == kCapitalSigma) {
    out->append(IsFinalSigma(text, at) ? "ς" : "σ");
  } else if (c.value == kCapitalDottedI) {
    out->append("i̇");
  } else {
    AppendCodePoint(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))),
                    out);
  }
  return c.num_bytes;
}

}  // namespace

std::string Upper(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    AppendUpper(c.value, &out);
    at += c.num_bytes;
  }
  return out;
}

std::string Lower(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) at += AppendLower(text, at, &out);
  return out;
}

std::string Capitalize(absl::string_view text) {
  std::string out;
  if (text.empty()) return out;
  const CodePoint first = ReadCodePoint(text.data());
  AppendTitle(first.value, &out);
  for (size_t at = first.num_bytes; at < text.size();) at += AppendLower(text, at, &out);
  return out;
}

std::string TitleFilter(absl::string_view text) {
  constexpr absl::string_view kSeparators = "-({[<";
  std::string out;
  for (size_t at = 0; at < text.size();) {
    // A word up to the next separator; a separator is a word of its own.
    size_t end = at;
    do {
      end += ReadCodePoint(text.data() + end).num_bytes;
    } while (end < text.size() && !IsSpace(ReadCodePoint(text.data() + end).value) &&
             kSeparators.find(text[end]) == absl::string_view::npos);
    const CodePoint first = ReadCodePoint(text.data() + at);
    const bool separates =
        IsSpace(first.value) || kSeparators.find(text[at]) != absl::string_view::npos;
    if (separates) end = at + first.num_bytes;
    AppendUpper(first.value, &out);
    out.append(Lower(text.substr(at + first.num_bytes, end - at - first.num_bytes)));
    at = end;
  }
  return out;
}

std::string TitleMethod(absl::string_view text) {
  std::string out;
  bool inside_word = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    if (inside_word) {
      AppendLower(text, at, &out);
    } else {
      AppendTitle(c.value, &out);
    }
    inside_word = IsCased(c.value);
    at += c.num_bytes;
  }
  return out;
}

}  // namespace quartet::tokenizer::jinja
