// What the gateway wants of the tokenizer service, as a plain interface: tokenizer_client.h is the
// real one, tests bring their own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gateway/generation_types.h"

namespace quartet::gateway {

// Ids that mark the parts of a prompt to be filled in the middle: prefix id, text before, suffix
// id, text after, middle id.
struct FillInMiddleIds {
  uint32_t prefix = 0;
  uint32_t suffix = 0;
  uint32_t middle = 0;
};

struct TokenizerInfo {
  // One past the largest id.
  uint32_t vocab_size = 0;
  std::string hash;
  std::vector<uint32_t> eos_token_ids;
  bool has_chat_template = false;
  // Unset if the model doesn't know it.
  std::optional<FillInMiddleIds> fill_in_middle;
};

struct RenderedChat {
  std::string text;
  TokenIds ids;
};

// New ids of one stream of text.
struct DecodeItem {
  // What the last answer for this stream gave back.
  std::string pending;
  TokenIds ids;
  bool skip_special_tokens = false;
  // No more ids follow: an unfinished character comes out as U+FFFD.
  bool finish = false;
  // Ids whose bytes are wanted beside the text.
  TokenIds piece_ids;
};

struct DecodeResult {
  std::string text;
  std::string pending;
  std::vector<std::string> pieces;
  // One entry an id: bytes of `text` that were out after it.
  std::vector<uint32_t> text_end;
  // Not empty if this item failed.
  std::string error;
};

// All functions may be called on the gateway's loop, and call `done` on it, once, later. Every call
// ends within a deadline.
class Tokenizer {
 public:
  template <class T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~Tokenizer() = default;
  virtual void Encode(std::string text, bool add_special_tokens, Done<TokenIds> done) = 0;
  // Several texts in one call; as many encodings, in order.
  virtual void EncodeAll(std::vector<std::string> texts, bool add_special_tokens,
                         Done<std::vector<TokenIds>> done) = 0;
  virtual void Decode(TokenIds ids, bool skip_special_tokens, Done<std::string> done) = 0;
  virtual void ApplyChatTemplate(ChatPrompt chat, Done<RenderedChat> done) = 0;
  // One message for many streams. `items` is not looked at after the call returns. REQUIRES: the
  // previous call is done.
  virtual void StreamDecode(const std::vector<DecodeItem>& items,
                            Done<std::vector<DecodeResult>> done) = 0;
};

}  // namespace quartet::gateway
