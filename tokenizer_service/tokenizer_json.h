// Hugging Face's tokenizer.json with the files beside it: tokenizer_config.json (end and padding
// token, chat templates and the special tokens they name), chat_template.jinja,
// additional_chat_templates/tool_use.jinja and chat_template.json. Stages that this tokenizer does
// not have are refused by name.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Loads `path` (a tokenizer.json). Returns NOT_FOUND or INVALID_ARGUMENT naming the file, the field
// and the value.
absl::StatusOr<Vocabulary> LoadTokenizerJson(const std::string& path);

// The same from the text of tokenizer.json alone; messages don't name the file.
absl::StatusOr<Vocabulary> ParseTokenizerJson(absl::string_view text);

// Adds what tokenizer_config.json says: eos_token, pad_token, chat_template and the special tokens
// that templates name.
absl::Status ApplyTokenizerConfig(absl::string_view text, Vocabulary* vocabulary);

}  // namespace quartet::tokenizer
