// Writes grammars in xgrammar's EBNF: literals, sets of characters, rules with names of their own.
// Knows nothing of JSON Schema or of regular expressions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::grammar {

inline constexpr uint32_t kMaxCodePoint = 0x10ffff;

// Sets of Unicode code points; surrogates are in none.
class CharacterSet {
 public:
  struct Range {
    uint32_t first = 0;
    uint32_t last = 0;
  };

  static CharacterSet All();
  static CharacterSet Of(absl::string_view ascii);

  void Add(uint32_t first, uint32_t last);
  void Add(const CharacterSet& other);
  CharacterSet Complement() const;
  CharacterSet Without(const CharacterSet& other) const;
  bool Contains(uint32_t code_point) const;
  bool empty() const { return ranges_.empty(); }
  // Ascending, apart from each other.
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  void Normalize();
  std::vector<Range> ranges_;
};

// What matches one character of the set. REQUIRES: it is not empty.
std::string ClassExpression(const CharacterSet& set);

// What matches exactly this text. REQUIRES: it is UTF-8.
std::string LiteralExpression(absl::string_view text);

// Appends the code point as UTF-8.
void AppendUtf8(uint32_t code_point, std::string* text);
// The code points of a text, or false if it is not UTF-8.
bool DecodeUtf8(absl::string_view text, std::vector<uint32_t>* code_points);

// Rules under construction. Not thread-safe.
class EbnfRules {
 public:
  // A name that no rule has yet, for a rule that is set later.
  std::string NewName(absl::string_view hint);
  // `options`: rule options as xgrammar writes them, in brackets.
  void Set(const std::string& name, const std::string& body, const std::string& options = "");
  // Both at once; gives the name.
  std::string Add(absl::string_view hint, const std::string& body);

  size_t size_bytes() const { return size_bytes_; }
  int num_rules() const { return static_cast<int>(bodies_.size()); }
  // The rules that `root`, an expression, needs, after a rule root that is it.
  std::string Text(const std::string& root) const;

 private:
  struct Rule {
    std::string options;
    std::string body;
  };
  std::map<std::string, Rule> bodies_;
  size_t size_bytes_ = 0;
  int num_names_ = 0;
};

}  // namespace quartet::grammar
