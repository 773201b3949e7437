#include "tokenizer_service/tokenizer.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/nfc.h"
#include "tokenizer_service/pretokenizer.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

// Scratch kept for later calls; more threads than that make their own.
constexpr size_t kMaxFreeScratch = 16;
// A guess at how much text an id stands for; only saves reallocations.
constexpr size_t kBytesPerId = 4;
// A normalisation buffer above this is given back after use.
constexpr size_t kKeptBufferBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path,
                                                           const TokenizerOptions& options) {
  ASSIGN_OR_RETURN(Vocabulary vocabulary, LoadVocabulary(path));
  return Create(std::move(vocabulary), options);
}

std::unique_ptr<Tokenizer> Tokenizer::Create(Vocabulary vocabulary,
                                             const TokenizerOptions& options) {
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(vocabulary), options));
}

Tokenizer::Tokenizer(Vocabulary vocabulary, const TokenizerOptions& options)
    : vocabulary_(std::move(vocabulary)),
      options_(options),
      bpe_(vocabulary_),
      hash_(HashVocabulary(vocabulary_)),
      chat_template_(vocabulary_.chat_template) {
  // Special tokens come first, as in the reference: of two patterns that normalise alike the first
  // counts.
  for (const bool special : {true, false}) {
    for (const AddedToken& added : vocabulary_.added_tokens) {
      if (added.special != special) continue;
      std::string buffer;
      if (!added.normalized) {
        raw_matcher_.Add(added.content, &added);
      } else if (vocabulary_.nfc) {
        normalized_matcher_.Add(NormalizeNfc(added.content, &buffer), &added);
      } else {
        normalized_matcher_.Add(added.content, &added);
      }
    }
  }
  for (const Token& token : vocabulary_.tokens) {
    max_token_bytes_ = std::max(max_token_bytes_, static_cast<uint32_t>(token.bytes.size()));
  }
}

std::unique_ptr<Tokenizer::Scratch> Tokenizer::TakeScratch() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_scratch_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(free_scratch_.back());
  free_scratch_.pop_back();
  return scratch;
}

void Tokenizer::GiveBack(std::unique_ptr<Scratch> scratch) const {
  if (scratch->normalized.capacity() > kKeptBufferBytes) scratch->normalized = std::string();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_scratch_.size() < kMaxFreeScratch) free_scratch_.push_back(std::move(scratch));
}

absl::StatusOr<std::vector<uint32_t>> Tokenizer::Encode(absl::string_view text,
                                                        bool add_special_tokens) const {
  if (text.size() > options_.max_text_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the text has ", text.size(),
                                                     " bytes; at most ", options_.max_text_bytes,
                                                     " are taken (--max_text_bytes)"));
  }
  const size_t invalid = FindInvalidUtf8(text);
  if (invalid != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text is not UTF-8 at byte offset ", invalid));
  }
  std::vector<uint32_t> ids;
  ids.reserve(text.size() / kBytesPerId + 16);
  if (add_special_tokens) ids = vocabulary_.prefix_ids;
  std::unique_ptr<Scratch> scratch = TakeScratch();
  raw_matcher_.Split(text, [&](const TextSegment& segment) {
    if (segment.is_added) {
      ids.push_back(segment.id);
    } else {
      EncodePlain(segment.text, scratch.get(), &ids);
    }
  });
  GiveBack(std::move(scratch));
  return ids;
}

void Tokenizer::EncodePlain(absl::string_view text, Scratch* scratch,
                            std::vector<uint32_t>* ids) const {
  if (vocabulary_.nfc) text = NormalizeNfc(text, &scratch->normalized);
  normalized_matcher_.Split(text, [&](const TextSegment& segment) {
    if (segment.is_added) {
      ids->push_back(segment.id);
    } else {
      EncodeWords(segment.text, scratch, ids);
    }
  });
}

void Tokenizer::EncodeWords(absl::string_view text, Scratch* scratch,
                            std::vector<uint32_t>* ids) const {
  WordScanner scanner(text, vocabulary_.split_pattern, vocabulary_.individual_digits);
  absl::string_view word;
  while (scanner.Next(&word)) bpe_.Encode(word, &scratch->bpe, ids);
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const uint32_t> ids,
                                              bool skip_special_tokens) const {
  return DecodeAll(vocabulary_, ids, skip_special_tokens);
}

absl::StatusOr<DecodedPiece> Tokenizer::DecodeNext(absl::string_view pending,
                                                   absl::Span<const uint32_t> ids,
                                                   DecodeOptions options) const {
  return tokenizer::DecodeNext(vocabulary_, pending, ids, options);
}

absl::StatusOr<std::string> Tokenizer::ApplyChatTemplate(const Conversation& conversation) const {
  return chat_template_.Render(conversation, std::time(nullptr));
}

absl::StatusOr<absl::string_view> Tokenizer::TokenBytes(uint32_t id) const {
  RETURN_IF_ERROR(CheckId(vocabulary_, id));
  return absl::string_view(vocabulary_.tokens[id].bytes);
}

}  // namespace quartet::tokenizer
