// A vocabulary small enough to reason about in tests: ids below 256 are bytes, a few above are
// longer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "gateway/generation_types.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway::testing {

inline constexpr uint32_t kToyEnd = 256;    // "<|end|>", special, ends a text.
inline constexpr uint32_t kToyHello = 257;  // "Hello".
inline constexpr uint32_t kToyVocabSize = 300;

// How long a test waits for what must happen: long enough for a machine that is busy with ten other
// things.
inline constexpr std::chrono::seconds kPatience(60);

// One id a byte.
TokenIds ToyEncode(const std::string& text);
// The bytes of one id.
std::string ToyPiece(uint32_t id);
// What the tokenizer service's StreamDecode does.
DecodeResult ToyDecode(const DecodeItem& item);
// "role:content\n" for each message, then "assistant:".
std::string ToyTemplate(const ChatPrompt& chat);
TokenizerInfo ToyInfo();

}  // namespace quartet::gateway::testing
