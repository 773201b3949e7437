#include "gateway/utf8.h"

#include <cstdint>
#include <cstring>

namespace quartet::gateway {
namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the character at `s` (at most `left` bytes), or 0 if it is malformed.
size_t CharacterLength(const unsigned char* s, size_t left) {
  const unsigned char first = s[0];
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (left < length) return 0;
  // The second byte's range rules out overlong forms, surrogates and code points above U+10FFFF.
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!IsContinuation(s[i])) return 0;
  }
  return length;
}

}  // namespace

size_t FirstInvalidUtf8(absl::string_view text) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    // Eight ASCII bytes at a time: most of what comes in.
    uint64_t word = 0;
    if (i + 8 <= text.size()) {
      std::memcpy(&word, s + i, 8);
      if ((word & 0x8080808080808080ull) == 0) {
        i += 8;
        continue;
      }
    }
    const size_t length = CharacterLength(s + i, text.size() - i);
    if (length == 0) return i;
    i += length;
  }
  return text.size();
}

size_t CountCharacters(absl::string_view text) {
  size_t count = 0;
  for (unsigned char byte : text) count += IsContinuation(byte) ? 0 : 1;
  return count;
}

}  // namespace quartet::gateway
