// Calls, filters and tests, see expression_parser.h.
#include <algorithm>

#include "common/status_macros.h"
#include "tokenizer_service/jinja/expression_parser.h"
#include "tokenizer_service/jinja/filters.h"

namespace quartet::tokenizer::jinja {

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilters(ExpressionPtr value) {
  while (true) {
    if (tokens_->TakeOperator("|")) {
      ASSIGN_OR_RETURN(value, ParseFilter(std::move(value)));
    } else if (tokens_->IsName("is")) {
      ASSIGN_OR_RETURN(value, ParseTest(std::move(value)));
    } else if (tokens_->IsOperator("(")) {
      ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
    } else {
      return value;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseBlockFilters(bool begins_with_bar) {
  ASSIGN_OR_RETURN(ExpressionPtr value, Make(tokens_->line(), 0, CapturedText{}));
  if (!begins_with_bar) {
    ASSIGN_OR_RETURN(value, ParseFilter(std::move(value)));
  }
  while (tokens_->TakeOperator("|")) {
    ASSIGN_OR_RETURN(value, ParseFilter(std::move(value)));
  }
  return value;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilter(ExpressionPtr value) {
  const int line = tokens_->line();
  if (!tokens_->Is(TokenKind::kName)) return tokens_->Unexpected("the name of a filter");
  FilterCall call;
  call.name = tokens_->Next().text;
  call.function = FindFilter(call.name);
  if (call.function == nullptr && (conditional_bodies_ == 0 || IsUnsupportedFilter(call.name))) {
    return TokenStream::Error(line, absl::StrCat("the filter '", call.name, "' is not supported"));
  }
  if (tokens_->IsOperator("(")) {
    ASSIGN_OR_RETURN(call.arguments, ParseArguments());
  }
  const int depth = Deepest(value, call.arguments);
  call.input = std::move(value);
  return Make(line, depth, std::move(call));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr value) {
  const int line = tokens_->Next().line;
  const bool negated = tokens_->TakeName("not");
  if (!tokens_->Is(TokenKind::kName)) return tokens_->Unexpected("the name of a test");
  TestCall call;
  call.name = tokens_->Next().text;
  call.function = FindTest(call.name);
  if (call.function == nullptr && conditional_bodies_ == 0) {
    return TokenStream::Error(line, absl::StrCat("the test '", call.name, "' is not supported"));
  }
  const bool has_argument = tokens_->Is(TokenKind::kName) || tokens_->Is(TokenKind::kString) ||
                            tokens_->Is(TokenKind::kInteger) || tokens_->Is(TokenKind::kFloat) ||
                            tokens_->IsOperator("[") || tokens_->IsOperator("{");
  bool ends = false;
  for (const absl::string_view word : {"else", "or", "and"}) ends |= tokens_->IsName(word);
  if (tokens_->IsOperator("(")) {
    ASSIGN_OR_RETURN(call.arguments, ParseArguments());
  } else if (has_argument && !ends) {
    if (tokens_->IsName("is")) return TokenStream::Error(line, "tests with 'is' can't be chained");
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    call.arguments.positional.push_back(std::move(argument));
  }
  const int depth = Deepest(value, call.arguments);
  call.input = std::move(value);
  Parsed test = Make(line, depth, std::move(call));
  if (!negated || !test.ok()) return test;
  return Make(line, depth + 1, Not{*std::move(test)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseCall(ExpressionPtr callee) {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(CallArguments arguments, ParseArguments());
  const int depth = Deepest(callee, arguments);
  return Make(line, depth, Call{std::move(callee), std::move(arguments)});
}

absl::StatusOr<CallArguments> ExpressionParser::ParseArguments() {
  RETURN_IF_ERROR(tokens_->ExpectOperator("("));
  CallArguments arguments;
  bool first = true;
  while (!tokens_->IsOperator(")")) {
    if (!first) RETURN_IF_ERROR(tokens_->ExpectOperator(","));
    if (tokens_->IsOperator(")")) break;
    first = false;
    const int line = tokens_->line();
    const bool named = tokens_->Is(TokenKind::kName) && tokens_->Is(TokenKind::kOperator, "=", 1);
    const bool only_keywords = arguments.more_keyword != nullptr;
    if (only_keywords) return TokenStream::Error(line, "nothing may follow a ** argument");
    if (tokens_->TakeOperator("**")) {
      ASSIGN_OR_RETURN(arguments.more_keyword, ParseExpression());
    } else if (named) {
      std::string name = tokens_->Next().text;
      tokens_->Next();
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.keyword.emplace_back(std::move(name), std::move(value));
    } else if (tokens_->IsOperator("*") && arguments.more_positional == nullptr) {
      tokens_->Next();
      ASSIGN_OR_RETURN(arguments.more_positional, ParseExpression());
    } else if (!arguments.keyword.empty() || arguments.more_positional != nullptr) {
      return TokenStream::Error(line, "an argument without a name follows one with a name or *");
    } else {
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.positional.push_back(std::move(value));
    }
  }
  tokens_->Next();
  return arguments;
}

}  // namespace quartet::tokenizer::jinja
