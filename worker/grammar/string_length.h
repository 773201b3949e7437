// Lengths of JSON strings. A grammar that counts characters is slow to compile (one mask a
// character and a walk through the vocabulary for each) or slow to follow. So strings with bounds
// are written without them, in a rule that carries the bounds as a number, and the masks are
// narrowed here while such a rule is active.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/grammar/grammar.h"

namespace quartet::grammar {

inline constexpr int64_t kMaxMinLength = 511;
inline constexpr int64_t kMaxMaxLength = 20'000;

// Characters are code points. Escapes count as the characters that spell them, so that a string may
// come out shorter than it could, but never longer.
struct StringLength {
  int64_t min = 0;             // at most kMaxMinLength
  std::optional<int64_t> max;  // above kMaxMaxLength: as kMaxMaxLength
};

// The number that a rule carries: xgrammar's "temperature", which nothing else uses and of which it
// tells the largest one that is active. A longer maximum has a larger number.
int EncodeLength(const StringLength& length);
StringLength DecodeLength(int code);
// The smallest maximum that a grammar's source carries, if any does; -1 if there is a minimum.
std::optional<int64_t> SmallestMaximum(absl::string_view source);

// What the bytes of each token do to a string. Thread-safe.
class TokenTexts {
 public:
  explicit TokenTexts(const Vocabulary& vocabulary);

  // Clears the bits of tokens in which a string begins that has more than `max` characters before
  // it or the token ends: it would not be noticed in time. -1: nor strings that end in the token.
  void ForbidLongBeginnings(int64_t max, std::span<uint32_t> mask) const;
  // The same for tokens that make a string, of which there are `count` characters, too long, or
  // close it too early.
  void KeepLength(const StringLength& length, int64_t count, std::span<uint32_t> mask) const;
  // Characters of the open string after this token, of which there were `count` before.
  int64_t CountAfter(int32_t token_id, bool was_open, int64_t count) const;

 private:
  struct Text {
    int32_t id;
    int32_t before_quote;  // characters before the first quote, or in all
    int32_t after_quote;   // characters after the last quote; -1: no quote
    int32_t longest_part;  // characters of the longest part that follows a quote
    int32_t num_quotes;
  };
  std::vector<Text> texts_;       // longest before_quote first
  std::vector<Text> with_quote_;  // those that have one
  std::vector<Text> by_id_;
};

}  // namespace quartet::grammar
