#include "worker/grammar/ebnf.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace quartet::grammar {
namespace {

constexpr uint32_t kFirstSurrogate = 0xd800;
constexpr uint32_t kLastSurrogate = 0xdfff;

std::string Escaped(uint32_t code_point) {
  if (code_point < 0x80 && absl::ascii_isalnum(static_cast<unsigned char>(code_point))) {
    return std::string(1, static_cast<char>(code_point));
  }
  return absl::StrFormat("\\U%08x", code_point);
}

bool IsNameCharacter(char c) {
  return c == '_' || absl::ascii_isalnum(static_cast<unsigned char>(c));
}

}  // namespace

CharacterSet CharacterSet::All() {
  CharacterSet set;
  set.Add(0, kMaxCodePoint);
  return set;
}

CharacterSet CharacterSet::Of(absl::string_view ascii) {
  CharacterSet set;
  for (const char c : ascii) {
    set.ranges_.push_back({static_cast<unsigned char>(c), static_cast<unsigned char>(c)});
  }
  set.Normalize();
  return set;
}

void CharacterSet::Add(uint32_t first, uint32_t last) {
  if (first > last) return;
  ranges_.push_back({first, last});
  Normalize();
}

void CharacterSet::Add(const CharacterSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  Normalize();
}

void CharacterSet::Normalize() {
  std::vector<Range> whole;
  for (const Range& range : ranges_) {
    if (range.first < kFirstSurrogate) {
      whole.push_back({range.first, std::min(range.last, kFirstSurrogate - 1)});
    }
    if (range.last > kLastSurrogate) {
      whole.push_back({std::max(range.first, kLastSurrogate + 1), range.last});
    }
  }
  std::sort(whole.begin(), whole.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  ranges_.clear();
  for (const Range& range : whole) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

CharacterSet CharacterSet::Complement() const {
  CharacterSet result;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) result.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) result.ranges_.push_back({next, kMaxCodePoint});
  result.Normalize();
  return result;
}

CharacterSet CharacterSet::Without(const CharacterSet& other) const {
  // a \ b is the complement of (complement of a, and b).
  CharacterSet rest = Complement();
  rest.Add(other);
  return rest.Complement();
}

bool CharacterSet::Contains(uint32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [code_point](const Range& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

std::string ClassExpression(const CharacterSet& set) {
  std::string text = "[";
  for (const CharacterSet::Range& range : set.ranges()) {
    absl::StrAppend(&text, Escaped(range.first));
    if (range.last > range.first) absl::StrAppend(&text, "-", Escaped(range.last));
  }
  return text + "]";
}

std::string LiteralExpression(absl::string_view text) {
  std::string expression = "\"";
  std::vector<uint32_t> code_points;
  DecodeUtf8(text, &code_points);
  for (const uint32_t code_point : code_points) {
    const bool is_plain =
        code_point >= 0x20 && code_point < 0x7f && code_point != '"' && code_point != '\\';
    if (is_plain) {
      expression.push_back(static_cast<char>(code_point));
    } else {
      absl::StrAppend(&expression, absl::StrFormat("\\U%08x", code_point));
    }
  }
  return expression + "\"";
}

void AppendUtf8(uint32_t code_point, std::string* text) {
  if (code_point < 0x80) {
    text->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text->push_back(static_cast<char>(0xc0 | code_point >> 6));
    text->push_back(static_cast<char>(0x80 | (code_point & 0x3f)));
  } else if (code_point < 0x10000) {
    text->push_back(static_cast<char>(0xe0 | code_point >> 12));
    text->push_back(static_cast<char>(0x80 | (code_point >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code_point & 0x3f)));
  } else {
    text->push_back(static_cast<char>(0xf0 | code_point >> 18));
    text->push_back(static_cast<char>(0x80 | (code_point >> 12 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code_point >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code_point & 0x3f)));
  }
}

bool DecodeUtf8(absl::string_view text, std::vector<uint32_t>* code_points) {
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < text.size();) {
    const unsigned char lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80       ? 1
                          : lead >> 5 == 6  ? 2
                          : lead >> 4 == 14 ? 3
                          : lead >> 3 == 30 ? 4
                                            : 0;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t code_point = length == 1 ? lead : lead & (0xff >> (length + 1));
    for (size_t j = 1; j < length; ++j) {
      const unsigned char next = static_cast<unsigned char>(text[i + j]);
      if (next >> 6 != 2) return false;
      code_point = code_point << 6 | (next & 0x3f);
    }
    const bool is_surrogate = code_point >= kFirstSurrogate && code_point <= kLastSurrogate;
    if (code_point < kSmallest[length] || code_point > kMaxCodePoint || is_surrogate) return false;
    code_points->push_back(code_point);
    i += length;
  }
  return true;
}

std::string EbnfRules::NewName(absl::string_view hint) {
  std::string name(hint.substr(0, 24));
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return absl::StrCat("r", num_names_++, "_", name);
}

void EbnfRules::Set(const std::string& name, const std::string& body, const std::string& options) {
  size_bytes_ += name.size() + body.size();
  bodies_[name] = {options, body};
}

std::string EbnfRules::Add(absl::string_view hint, const std::string& body) {
  std::string name = NewName(hint);
  Set(name, body);
  return name;
}

std::string EbnfRules::Text(const std::string& root) const {
  std::string text = absl::StrCat("root ::= ", root, "\n");
  std::vector<const std::string*> pending = {&root};
  std::set<absl::string_view> seen;
  while (!pending.empty()) {
    const absl::string_view body = *pending.back();
    pending.pop_back();
    // A word in a literal may look like a name; then a rule too many is written.
    for (size_t at = 0; at < body.size();) {
      size_t end = at;
      while (end < body.size() && IsNameCharacter(body[end])) ++end;
      const absl::string_view word = body.substr(at, end - at);
      at = end + 1;
      const auto rule = bodies_.find(std::string(word));
      if (rule == bodies_.end() || !seen.insert(rule->first).second) continue;
      absl::StrAppend(&text, rule->first, rule->second.options, " ::= ", rule->second.body, "\n");
      pending.push_back(&rule->second.body);
    }
  }
  return text;
}

}  // namespace quartet::grammar
