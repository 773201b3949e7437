// Cuts a template into tokens, with white space removed where Jinja's trim_blocks, lstrip_blocks
// and minus signs say so.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer::jinja {

enum class TokenKind {
  kText,  // outside of tags
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,   // text is what it stands for
  kInteger,  // text as written
  kFloat,    // text as written
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

// INVALID_ARGUMENT naming the line. The last token is kEnd. REQUIRES: `source` is UTF-8.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace quartet::tokenizer::jinja
