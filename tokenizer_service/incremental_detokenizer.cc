#include "tokenizer_service/incremental_detokenizer.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

// The longest start of a character that is not a whole one.
constexpr size_t kMaxPendingBytes = 3;

}  // namespace

absl::Status CheckId(const Vocabulary& vocabulary, uint32_t id) {
  if (id < vocabulary.tokens.size() && !vocabulary.tokens[id].bytes.empty())
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "token id ", id, " is not in the vocabulary, which ends at ", vocabulary.tokens.size()));
}

absl::StatusOr<DecodedPiece> DecodeNext(const Vocabulary& vocabulary, absl::string_view pending,
                                        absl::Span<const uint32_t> ids, DecodeOptions options) {
  if (pending.size() > kMaxPendingBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("pending holds ", pending.size(), " bytes; at most ", kMaxPendingBytes,
                     " can be the start of a character: pass back what the last call returned"));
  }
  DecodedPiece piece;
  piece.text_end.reserve(ids.size());
  std::string bytes(pending);
  for (const uint32_t id : ids) {
    RETURN_IF_ERROR(CheckId(vocabulary, id));
    const Token& token = vocabulary.tokens[id];
    if (!(options.skip_special_tokens && token.special)) {
      bytes += token.bytes;
      const size_t held_back = AppendLossyUtf8(bytes, &piece.text);
      bytes.erase(0, bytes.size() - held_back);
    }
    piece.text_end.push_back(static_cast<uint32_t>(piece.text.size()));
  }
  // Also when there are no ids: `pending` is the caller's and may be anything.
  if (ids.empty()) {
    const size_t held_back = AppendLossyUtf8(bytes, &piece.text);
    bytes.erase(0, bytes.size() - held_back);
  }
  if (options.finish && !bytes.empty()) {
    absl::StrAppend(&piece.text, kReplacementCharacter);
    bytes.clear();
    if (!ids.empty()) piece.text_end.back() = static_cast<uint32_t>(piece.text.size());
  }
  piece.pending = std::move(bytes);
  return piece;
}

absl::StatusOr<std::string> DecodeAll(const Vocabulary& vocabulary, absl::Span<const uint32_t> ids,
                                      bool skip_special_tokens) {
  std::string bytes;
  for (const uint32_t id : ids) {
    RETURN_IF_ERROR(CheckId(vocabulary, id));
    const Token& token = vocabulary.tokens[id];
    if (!(skip_special_tokens && token.special)) bytes += token.bytes;
  }
  std::string text;
  text.reserve(bytes.size());
  if (AppendLossyUtf8(bytes, &text) > 0) absl::StrAppend(&text, kReplacementCharacter);
  return text;
}

}  // namespace quartet::tokenizer
