// Ids to text, all at once or as they come. Keeps no state: what is held back of an unfinished
// character travels with the caller, so any tokenizer process can serve any step of a stream.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

struct DecodeOptions {
  bool skip_special_tokens = false;
  bool finish = false;  // the stream ends here: held-back bytes come out as U+FFFD
};

// New text of one stream.
struct DecodedPiece {
  std::string text;     // whole characters only
  std::string pending;  // at most three bytes, to give back with the next call
  // For each id the bytes of `text` that were out after it; what `finish` flushes counts for the
  // last one.
  std::vector<uint32_t> text_end;
};

// Decodes the next ids of a stream. The texts of a stream's calls together equal DecodeAll of all
// its ids. Returns INVALID_ARGUMENT if an id is unknown or `pending` is longer than the start of a
// character.
absl::StatusOr<DecodedPiece> DecodeNext(const Vocabulary& vocabulary, absl::string_view pending,
                                        absl::Span<const uint32_t> ids, DecodeOptions options);

// Decodes `ids`; bytes that form no character become U+FFFD. Returns INVALID_ARGUMENT naming an
// unknown id.
absl::StatusOr<std::string> DecodeAll(const Vocabulary& vocabulary, absl::Span<const uint32_t> ids,
                                      bool skip_special_tokens);

// OK if the vocabulary has `id`.
absl::Status CheckId(const Vocabulary& vocabulary, uint32_t id);

}  // namespace quartet::tokenizer
