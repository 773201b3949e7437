// The byte-level alphabet of GPT-2: each byte is written as one printable character in vocabulary
// files, so that tokens of any bytes are text (a space is U+0120).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// The character that stands for `byte`.
uint32_t ByteToAlphabet(uint8_t byte);

// The byte that `code_point` stands for, or -1.
int AlphabetToByte(uint32_t code_point);

// Turns a token as vocabulary files write it into its bytes. Returns false, leaving *bytes
// unspecified, if a character is not of the alphabet. REQUIRES: valid UTF-8.
bool DecodeAlphabet(absl::string_view token, std::string* bytes);

}  // namespace quartet::tokenizer
