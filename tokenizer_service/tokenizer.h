// The tokenizer in one process: text to ids and back, and chat prompts. The service is a thin shell
// around it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tokenizer_service/added_tokens.h"
#include "tokenizer_service/bpe.h"
#include "tokenizer_service/chat_template.h"
#include "tokenizer_service/incremental_detokenizer.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

struct TokenizerOptions {
  // Longer texts are refused.
  size_t max_text_bytes = 16u << 20;
};

// Thread-safe: immutable but for a pool of scratch memory.
class Tokenizer {
 public:
  // Loads from a model directory, a tokenizer.json or a .gguf file.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path,
                                                         const TokenizerOptions& options);
  // From a vocabulary that is already there.
  static std::unique_ptr<Tokenizer> Create(Vocabulary vocabulary, const TokenizerOptions& options);

  // The ids of `text`, with the tokenizer's own prefix if asked for. Returns INVALID_ARGUMENT
  // naming the offset of what is not UTF-8, RESOURCE_EXHAUSTED naming both sizes if the text is too
  // long.
  absl::StatusOr<std::vector<uint32_t>> Encode(absl::string_view text,
                                               bool add_special_tokens) const;

  // See incremental_detokenizer.h.
  absl::StatusOr<std::string> Decode(absl::Span<const uint32_t> ids,
                                     bool skip_special_tokens) const;
  absl::StatusOr<DecodedPiece> DecodeNext(absl::string_view pending, absl::Span<const uint32_t> ids,
                                          DecodeOptions options) const;

  // The prompt of a conversation, see ChatTemplate::Render.
  absl::StatusOr<std::string> ApplyChatTemplate(const Conversation& conversation) const;

  // OK if the model has a chat template that can be used, else why not.
  const absl::Status& chat_template_status() const { return chat_template_.status(); }

  // The bytes that `id` decodes to; INVALID_ARGUMENT if there is no such id.
  absl::StatusOr<absl::string_view> TokenBytes(uint32_t id) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const std::string& hash() const { return hash_; }
  uint32_t vocab_size() const { return static_cast<uint32_t>(vocabulary_.tokens.size()); }
  uint32_t max_token_bytes() const { return max_token_bytes_; }

 private:
  struct Scratch {
    BpeScratch bpe;
    std::string normalized;
  };

  Tokenizer(Vocabulary vocabulary, const TokenizerOptions& options);
  std::unique_ptr<Scratch> TakeScratch() const;
  void GiveBack(std::unique_ptr<Scratch> scratch) const;
  void EncodePlain(absl::string_view text, Scratch* scratch, std::vector<uint32_t>* ids) const;
  void EncodeWords(absl::string_view text, Scratch* scratch, std::vector<uint32_t>* ids) const;

  const Vocabulary vocabulary_;
  const TokenizerOptions options_;
  const Bpe bpe_;
  const std::string hash_;
  const ChatTemplate chat_template_;
  AddedTokenMatcher raw_matcher_;         // tokens looked for in the text as it is
  AddedTokenMatcher normalized_matcher_;  // tokens looked for after normalisation
  uint32_t max_token_bytes_ = 0;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> free_scratch_;  // guarded by mutex_
};

}  // namespace quartet::tokenizer
