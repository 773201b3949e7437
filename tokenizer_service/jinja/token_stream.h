// The parsers' view of a template's tokens.
#pragma once

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tokenizer_service/jinja/lexer.h"

namespace quartet::tokenizer::jinja {

class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek(size_t ahead = 0) const {
    return tokens_[at_ + ahead < tokens_.size() ? at_ + ahead : tokens_.size() - 1];
  }
  int line() const { return Peek().line; }

  const Token& Next() {
    const Token& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }

  bool Is(TokenKind kind) const { return Peek().kind == kind; }
  bool Is(TokenKind kind, absl::string_view text, size_t ahead = 0) const {
    return Peek(ahead).kind == kind && Peek(ahead).text == text;
  }
  bool IsOperator(absl::string_view text) const { return Is(TokenKind::kOperator, text); }
  bool IsName(absl::string_view text) const { return Is(TokenKind::kName, text); }

  bool TakeOperator(absl::string_view text) {
    if (!IsOperator(text)) return false;
    Next();
    return true;
  }
  bool TakeName(absl::string_view text) {
    if (!IsName(text)) return false;
    Next();
    return true;
  }

  absl::Status ExpectOperator(absl::string_view text) {
    return TakeOperator(text) ? absl::OkStatus() : Unexpected(absl::StrCat("'", text, "'"));
  }
  absl::Status ExpectName(absl::string_view text) {
    return TakeName(text) ? absl::OkStatus() : Unexpected(absl::StrCat("'", text, "'"));
  }
  absl::Status Expect(TokenKind kind) {
    if (!Is(kind)) return Unexpected(Describe(kind));
    Next();
    return absl::OkStatus();
  }

  absl::Status Unexpected(absl::string_view expected) const {
    const Token& token = Peek();
    const std::string found = token.text.empty() || token.kind == TokenKind::kText
                                  ? Describe(token.kind)
                                  : absl::StrCat("'", token.text.substr(0, 40), "'");
    return Error(token.line, absl::StrCat("expected ", expected, ", found ", found));
  }

  static absl::Status Error(int line, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
  }

 private:
  static std::string Describe(TokenKind kind) {
    switch (kind) {
      case TokenKind::kText:
        return "text";
      case TokenKind::kVariableBegin:
        return "'{{'";
      case TokenKind::kVariableEnd:
        return "'}}'";
      case TokenKind::kBlockBegin:
        return "'{%'";
      case TokenKind::kBlockEnd:
        return "'%}'";
      case TokenKind::kName:
        return "a name";
      case TokenKind::kString:
        return "a text constant";
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return "a number";
      case TokenKind::kOperator:
        return "an operator";
      case TokenKind::kEnd:
        break;
    }
    return "the end of the template";
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace quartet::tokenizer::jinja
