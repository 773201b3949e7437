#include "tokenizer_service/jinja/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

bool Contains(absl::string_view chars, absl::string_view character) {
  return chars.find(character) != absl::string_view::npos;
}

bool IsStripped(absl::string_view character, uint32_t code_point, const absl::string_view* chars) {
  return chars == nullptr ? IsSpace(code_point) : Contains(*chars, character);
}

// As str.splitlines() ends lines; the length of \r\n is 2.
size_t LineEndBytes(absl::string_view rest) {
  const CodePoint c = ReadCodePoint(rest.data());
  if (c.value == '\r') return rest.size() > 1 && rest[1] == '\n' ? 2 : 1;
  const bool ends = (c.value >= 0x0a && c.value <= 0x0c) || (c.value >= 0x1c && c.value <= 0x1e) ||
                    c.value == 0x85 || c.value == 0x2028 || c.value == 0x2029;
  return ends ? c.num_bytes : 0;
}

bool IsPrintable(uint32_t code_point) {
  if (code_point == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

}  // namespace

bool IsSpace(uint32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t NumCharacters(absl::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

size_t CharacterOffset(absl::string_view text, size_t index) {
  size_t at = 0;
  while (at < text.size() && index > 0) {
    at += ReadCodePoint(text.data() + at).num_bytes;
    --index;
  }
  return at;
}

std::vector<absl::string_view> Characters(absl::string_view text) {
  std::vector<absl::string_view> characters;
  for (size_t at = 0; at < text.size();) {
    const size_t num_bytes = ReadCodePoint(text.data() + at).num_bytes;
    characters.push_back(text.substr(at, num_bytes));
    at += num_bytes;
  }
  return characters;
}

absl::string_view StripLeft(absl::string_view text, const absl::string_view* chars) {
  while (!text.empty()) {
    const CodePoint c = ReadCodePoint(text.data());
    if (!IsStripped(text.substr(0, c.num_bytes), c.value, chars)) break;
    text.remove_prefix(c.num_bytes);
  }
  return text;
}

absl::string_view StripRight(absl::string_view text, const absl::string_view* chars) {
  while (!text.empty()) {
    const CodePoint c = ReadCodePointBefore(text.data() + text.size());
    if (!IsStripped(text.substr(text.size() - c.num_bytes), c.value, chars)) break;
    text.remove_suffix(c.num_bytes);
  }
  return text;
}

size_t FindFirst(absl::string_view text, absl::string_view part) {
  if (part.empty()) return 0;
  if (text.size() < part.size()) return absl::string_view::npos;
  // Also because AddressSanitizer looks at all of the text before every memmem.
  if (part.size() == 1) return text.find(part.front());
  const void* const found = memmem(text.data(), text.size(), part.data(), part.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::vector<absl::string_view> Split(absl::string_view text, absl::string_view separator,
                                     int64_t max_splits) {
  std::vector<absl::string_view> parts;
  while (max_splits != 0) {
    const size_t at = FindFirst(text, separator);
    if (at == absl::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
    --max_splits;
  }
  parts.push_back(text);
  return parts;
}

std::vector<absl::string_view> SplitFromRight(absl::string_view text, absl::string_view separator,
                                              int64_t max_splits) {
  std::vector<absl::string_view> parts;
  while (max_splits != 0) {
    const size_t at = text.rfind(separator);
    if (at == absl::string_view::npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
    --max_splits;
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<absl::string_view> SplitBySpace(absl::string_view text, int64_t max_splits) {
  std::vector<absl::string_view> parts;
  for (text = StripLeft(text); !text.empty(); text = StripLeft(text)) {
    if (max_splits >= 0 && parts.size() == static_cast<size_t>(max_splits)) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const CodePoint c = ReadCodePoint(text.data() + end);
      if (IsSpace(c.value)) break;
      end += c.num_bytes;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends) {
  std::vector<absl::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end_bytes = LineEndBytes(text.substr(at));
    if (end_bytes == 0) {
      at += ReadCodePoint(text.data() + at).num_bytes;
      continue;
    }
    lines.push_back(text.substr(begin, at - begin + (keep_ends ? end_bytes : 0)));
    at += end_bytes;
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

size_t MaxLines(absl::string_view text) {
  // The last bytes of all line ends; other characters may have them too.
  return 1 + static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return (byte >= 0x0a && byte <= 0x0d) || (byte >= 0x1c && byte <= 0x1e) ||
                  byte == 0x85 || byte == 0xa8 || byte == 0xa9;
         }));
}

size_t CountParts(absl::string_view text, absl::string_view part) {
  size_t count = 0;
  for (size_t at = FindFirst(text, part); at != absl::string_view::npos;
       at = FindFirst(text, part)) {
    text.remove_prefix(at + part.size());
    ++count;
  }
  return count;
}

std::string Replace(absl::string_view text, absl::string_view from, absl::string_view to,
                    int64_t count) {
  std::string out;
  if (from.empty()) {  // before each character and at the end
    for (const absl::string_view character : Characters(text)) {
      if (count != 0) {
        out.append(to.data(), to.size());
        --count;
      }
      out.append(character.data(), character.size());
    }
    if (count != 0) out.append(to.data(), to.size());
    return out;
  }
  while (count != 0) {
    const size_t at = FindFirst(text, from);
    if (at == absl::string_view::npos) break;
    out.append(text.data(), at);
    out.append(to.data(), to.size());
    text.remove_prefix(at + from.size());
    --count;
  }
  out.append(text.data(), text.size());
  return out;
}

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}});
}

void AppendRepr(absl::string_view text, std::string* out) {
  const bool has_single = text.find('\'') != absl::string_view::npos;
  const char quote = has_single && text.find('"') == absl::string_view::npos ? '"' : '\'';
  out->push_back(quote);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    if (c.value == static_cast<uint32_t>(quote) || c.value == '\\') {
      out->push_back('\\');
      out->push_back(static_cast<char>(c.value));
    } else if (c.value == '\n' || c.value == '\r' || c.value == '\t') {
      absl::StrAppend(out, c.value == '\n' ? "\\n" : c.value == '\r' ? "\\r" : "\\t");
    } else if (IsPrintable(c.value)) {
      out->append(text.data() + at, c.num_bytes);
    } else if (c.value < 0x100) {
      absl::StrAppend(out, "\\x", absl::Hex(c.value, absl::kZeroPad2));
    } else if (c.value < 0x10000) {
      absl::StrAppend(out, "\\u", absl::Hex(c.value, absl::kZeroPad4));
    } else {
      absl::StrAppend(out, "\\U", absl::Hex(c.value, absl::kZeroPad8));
    }
    at += c.num_bytes;
  }
  out->push_back(quote);
}

}  // namespace quartet::tokenizer::jinja
