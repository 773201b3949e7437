#include "gateway/testing/toy_vocabulary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gateway/utf8.h"

namespace quartet::gateway::testing {
namespace {

// Length of the prefix of `bytes` that ends with a whole character, if only its last character is
// incomplete.
size_t WholeCharacters(const std::string& bytes) {
  const size_t bad = FirstInvalidUtf8(bytes);
  if (bad == bytes.size() || bytes.size() - bad > 3) return bytes.size();
  const unsigned char first = bytes[bad];
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  return bytes.size() - bad < length ? bad : bytes.size();
}

}  // namespace

TokenIds ToyEncode(const std::string& text) {
  TokenIds ids;
  for (unsigned char byte : text) ids.push_back(byte);
  return ids;
}

std::string ToyPiece(uint32_t id) {
  if (id < 256) return std::string(1, static_cast<char>(id));
  if (id == kToyEnd) return "<|end|>";
  if (id == kToyHello) return "Hello";
  return absl::StrCat("[", id, "]");
}

DecodeResult ToyDecode(const DecodeItem& item) {
  DecodeResult result;
  std::string bytes = item.pending;
  for (uint32_t id : item.ids) {
    if (id >= kToyVocabSize) {
      result = DecodeResult();
      result.error = absl::StrCat("no token has the id ", id);
      return result;
    }
    if (id != kToyEnd || !item.skip_special_tokens) bytes += ToyPiece(id);
    const size_t whole = WholeCharacters(bytes);
    result.text += bytes.substr(0, whole);
    bytes.erase(0, whole);
    result.text_end.push_back(static_cast<uint32_t>(result.text.size()));
  }
  if (item.finish && !bytes.empty()) {
    result.text += "\xEF\xBF\xBD";
    bytes.clear();
  }
  result.pending = bytes;
  for (uint32_t id : item.piece_ids) result.pieces.push_back(ToyPiece(id));
  return result;
}

std::string ToyTemplate(const ChatPrompt& chat) {
  std::string text;
  for (const std::string& tool : chat.tools_json) absl::StrAppend(&text, "tool:", tool, "\n");
  for (const ChatMessage& message : chat.messages) {
    absl::StrAppend(&text, message.role, ":", message.content, "\n");
  }
  return text + "assistant:";
}

TokenizerInfo ToyInfo() { return {kToyVocabSize, "toy-hash", {kToyEnd}, true, std::nullopt}; }

}  // namespace quartet::gateway::testing
