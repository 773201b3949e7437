#include "tokenizer_service/byte_alphabet.h"

#include <array>

#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

constexpr uint32_t kAlphabetEnd = 256 + 68;

struct Alphabet {
  std::array<uint16_t, 256> to_code_point;
  std::array<int16_t, kAlphabetEnd> to_byte;
};

// Printable bytes stand for themselves, the other 68 for U+0100 on.
constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet{};
  for (int16_t& byte : alphabet.to_byte) byte = -1;
  uint16_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    const uint16_t code_point = printable ? static_cast<uint16_t>(byte) : next++;
    alphabet.to_code_point[byte] = code_point;
    alphabet.to_byte[code_point] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

uint32_t ByteToAlphabet(uint8_t byte) { return kAlphabet.to_code_point[byte]; }

int AlphabetToByte(uint32_t code_point) {
  return code_point < kAlphabetEnd ? kAlphabet.to_byte[code_point] : -1;
}

bool DecodeAlphabet(absl::string_view token, std::string* bytes) {
  bytes->clear();
  const char* p = token.data();
  const char* const end = p + token.size();
  while (p < end) {
    const CodePoint c = ReadCodePoint(p);
    const int byte = AlphabetToByte(c.value);
    if (byte < 0) return false;
    bytes->push_back(static_cast<char>(byte));
    p += c.num_bytes;
  }
  return true;
}

}  // namespace quartet::tokenizer
