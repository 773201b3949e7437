#include "tokenizer_service/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "tokenizer_service/unicode_tables.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

bool Has(CodePoint c, uint8_t flag) { return (CodePointTable::Get().Flags(c.value) & flag) != 0; }

// Whether [begin, end) of `text` has no word character right before or after it.
bool StandsAlone(absl::string_view text, size_t begin, size_t end) {
  if (begin > 0 && Has(ReadCodePointBefore(text.data() + begin), kWord)) return false;
  return end == text.size() || !Has(ReadCodePoint(text.data() + end), kWord);
}

// Start of the spaces that end at `end`, not before `limit`.
size_t StripLeft(absl::string_view text, size_t limit, size_t end) {
  while (end > limit) {
    const CodePoint c = ReadCodePointBefore(text.data() + end);
    if (!Has(c, kSpace)) break;
    end -= c.num_bytes;
  }
  return std::max(end, limit);
}

size_t StripRight(absl::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint c = ReadCodePoint(text.data() + begin);
    if (!Has(c, kSpace)) break;
    begin += c.num_bytes;
  }
  return begin;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher() : nodes_(1) {}

void AddedTokenMatcher::Add(absl::string_view pattern, const AddedToken* added) {
  if (pattern.empty()) return;
  int32_t node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t child = -1;
    for (const auto& [label, target] : nodes_[node].next) {
      if (label == byte) child = target;
    }
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_[node].next.emplace_back(byte, child);
      nodes_.emplace_back();
    }
    node = child;
  }
  if (nodes_[node].token >= 0) return;
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(added);
  only_start_ = static_cast<unsigned char>(pattern[0]);
  num_starts_ += starts_[only_start_] ? 0 : 1;
  starts_[only_start_] = true;
}

size_t AddedTokenMatcher::FindCandidate(absl::string_view text, size_t from) const {
  if (num_starts_ == 1) {  // the usual case: all start with '<'
    const void* const found = std::memchr(text.data() + from, only_start_, text.size() - from);
    return found == nullptr ? text.size() : static_cast<const char*>(found) - text.data();
  }
  while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

int32_t AddedTokenMatcher::LongestAt(absl::string_view text, size_t at, size_t* end) const {
  int32_t node = 0;
  int32_t longest = -1;
  for (size_t i = at; i < text.size(); ++i) {
    int32_t child = -1;
    for (const auto& [label, target] : nodes_[node].next) {
      if (label == static_cast<unsigned char>(text[i])) child = target;
    }
    if (child < 0) break;
    node = child;
    if (nodes_[node].token >= 0) {
      longest = nodes_[node].token;
      *end = i + 1;
    }
  }
  return longest;
}

bool AddedTokenMatcher::Next(absl::string_view text, size_t done, size_t* from,
                             Found* found) const {
  if (tokens_.empty()) return false;
  while ((*from = FindCandidate(text, *from)) < text.size()) {
    const size_t begin = *from;
    size_t end = 0;
    const int32_t token = LongestAt(text, begin, &end);
    if (token < 0) {
      ++*from;
      continue;
    }
    *from = end;
    const AddedToken& added = *tokens_[token];
    if (added.single_word && !StandsAlone(text, begin, end)) continue;
    found->begin = added.lstrip ? StripLeft(text, std::min(done, begin), begin) : begin;
    found->end = added.rstrip ? StripRight(text, end) : end;
    found->begin = std::max(found->begin, std::min(done, found->end));
    found->id = added.id;
    return true;
  }
  return false;
}

}  // namespace quartet::tokenizer
