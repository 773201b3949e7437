// The vocabulary that llama.cpp's converter puts into a GGUF file (tokenizer.ggml.*), for
// byte-level BPE models.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Returns INVALID_ARGUMENT or NOT_FOUND naming the file, the key and the value.
absl::StatusOr<Vocabulary> LoadGgufVocabulary(const std::string& path);

// The same from bytes that are already in memory; messages don't name the file.
absl::StatusOr<Vocabulary> ParseGgufVocabulary(absl::string_view bytes);

}  // namespace quartet::tokenizer
