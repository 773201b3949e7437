// UTF-8 on plain bytes: checking, reading code points of checked text, and lossy decoding as Rust's
// from_utf8_lossy does it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// A code point and the bytes it takes.
struct CodePoint {
  uint32_t value;
  uint32_t num_bytes;
};

// Reads the code point at `p`. REQUIRES: `p` is at the start of a character of valid UTF-8.
inline CodePoint ReadCodePoint(const char* p) {
  const auto* b = reinterpret_cast<const unsigned char*>(p);
  if (b[0] < 0x80) return {b[0], 1};
  if (b[0] < 0xe0) return {(b[0] & 0x1fu) << 6 | (b[1] & 0x3fu), 2};
  if (b[0] < 0xf0) return {(b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu), 3};
  return {(b[0] & 0x07u) << 18 | (b[1] & 0x3fu) << 12 | (b[2] & 0x3fu) << 6 | (b[3] & 0x3fu), 4};
}

// The character that ends just before `p`. REQUIRES: valid UTF-8 with a whole character before `p`.
inline CodePoint ReadCodePointBefore(const char* p) {
  const char* start = p - 1;
  while ((static_cast<unsigned char>(*start) & 0xc0) == 0x80) --start;
  return ReadCodePoint(start);
}

// Appends the UTF-8 form of `code_point`. REQUIRES: a scalar value.
void AppendCodePoint(uint32_t code_point, std::string* out);

// What stands at the start of some bytes.
enum class Utf8Form {
  kCharacter,   // a whole character of `num_bytes`
  kInvalid,     // `num_bytes` that no character starts with: one U+FFFD (the maximal subpart)
  kIncomplete,  // all `num_bytes` left may be the start of a character
};
struct Utf8Unit {
  Utf8Form form;
  uint32_t num_bytes;
};
// REQUIRES: bytes is not empty.
Utf8Unit ClassifyUtf8(absl::string_view bytes);

// Offset of the first byte that is not part of valid UTF-8, or npos. Surrogates and overlong forms
// are invalid.
size_t FindInvalidUtf8(absl::string_view text);

// Appends `bytes` to `text`, invalid parts as U+FFFD. An incomplete character at the end is left
// out; returns its size.
size_t AppendLossyUtf8(absl::string_view bytes, std::string* text);

inline constexpr absl::string_view kReplacementCharacter = "\xEF\xBF\xBD";

}  // namespace quartet::tokenizer
