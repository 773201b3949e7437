// A vocabulary of the 256 bytes, a few merges and the ChatML tokens, for tests.
#pragma once

#include <string>
#include <vector>

#include "tokenizer_service/byte_alphabet.h"
#include "tokenizer_service/utf8.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Bytes are ids 0 to 255, "he" 256, "ll" 257, "hell" 258, "hello" 259, " hello" 260, then the
// special <|im_start|> 261,
// <|im_end|> 262 and the plain <tool_call> 263.
inline constexpr uint32_t kHello = 259;
inline constexpr uint32_t kSpaceHello = 260;
inline constexpr uint32_t kImStart = 261;
inline constexpr uint32_t kImEnd = 262;
inline constexpr uint32_t kToolCall = 263;

// The tokens as vocabulary files write them, by id, without the added ones.
inline std::vector<std::string> SmallTokens() {
  std::vector<std::string> tokens(256);
  for (int byte = 0; byte < 256; ++byte) {
    AppendCodePoint(ByteToAlphabet(static_cast<uint8_t>(byte)), &tokens[byte]);
  }
  for (const char* text : {"he", "ll", "hell", "hello", "\xC4\xA0hello"}) tokens.push_back(text);
  return tokens;
}

inline std::vector<std::string> SmallMerges() {
  return {"h e", "l l", "he ll", "hell o", "\xC4\xA0 hello"};
}

inline Vocabulary SmallVocabulary() {
  Vocabulary vocabulary;
  vocabulary.source = "small";
  const std::vector<std::string> tokens = SmallTokens();
  for (const std::string& token : tokens) vocabulary.tokens.push_back(MakeToken(token));
  vocabulary.merges = {
      {'h', 'e', 256}, {'l', 'l', 257}, {256, 257, 258}, {258, 'o', 259}, {' ', 259, 260}};
  for (const char* content : {"<|im_start|>", "<|im_end|>", "<tool_call>"}) {
    AddedToken added;
    added.id = static_cast<uint32_t>(vocabulary.tokens.size());
    added.content = content;
    added.special = added.id != kToolCall;
    const absl::Status status = AddAddedToken(added, &vocabulary);
    if (!status.ok()) return Vocabulary();
  }
  vocabulary.eos_ids = {kImEnd};
  return vocabulary;
}

}  // namespace quartet::tokenizer
