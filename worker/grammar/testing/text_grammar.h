// For tests: a format compiled over single bytes, and whether texts fit it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/grammar/grammar.h"

namespace quartet::grammar {

inline constexpr int64_t kByteVocabSize = 260;  // bytes, and ids that no text has

inline Vocabulary ByteVocabulary() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(std::string(1, static_cast<char>(byte)));
    vocabulary.is_special.push_back(false);
  }
  vocabulary.tokens.push_back("<|end|>");
  vocabulary.is_special.push_back(true);
  vocabulary.hash = "bytes";
  return vocabulary;
}

inline const Backend& ByteBackend() {
  static const auto* const kBackend =
      new std::shared_ptr<const Backend>(MakeBackend(ByteVocabulary(), kByteVocabSize).value());
  return **kBackend;
}

using Compiled = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;

inline Compiled CompileFormat(OutputFormat::Kind kind, absl::string_view text,
                              const CompileLimits& limits = {}) {
  OutputFormat format;
  format.kind = kind;
  format.text = std::string(text);
  return ByteBackend().Compile(format, limits);
}

// Whether the grammar allows the text as a whole, byte by byte.
inline bool Fits(const CompiledGrammar& grammar, absl::string_view text) {
  std::unique_ptr<Matcher> matcher = grammar.NewMatcher().value();
  std::vector<uint32_t> mask((kByteVocabSize + 31) / 32);
  for (const char c : text) {
    const int id = static_cast<unsigned char>(c);
    if (!matcher->FillMask(mask).ok() || (mask[id / 32] >> (id % 32) & 1) == 0) return false;
    if (!matcher->Accept(id).ok()) return false;
  }
  return matcher->CanEnd();
}

}  // namespace quartet::grammar
