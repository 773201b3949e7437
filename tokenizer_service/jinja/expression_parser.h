// Parses Jinja's expressions: what stands between {{ and }}, and behind the keyword of a tag.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer_service/jinja/ast.h"
#include "tokenizer_service/jinja/token_stream.h"

namespace quartet::tokenizer::jinja {

// Gives variables their numbers.
class NameTable {
 public:
  int Number(const std::string& name) {
    const auto [place, is_new] = numbers_.emplace(name, static_cast<int>(names_.size()));
    if (is_new) names_.push_back(name);
    return place->second;
  }
  std::vector<std::string> Take() { return std::move(names_); }

 private:
  std::map<std::string, int> numbers_;
  std::vector<std::string> names_;
};

class ExpressionParser {
 public:
  ExpressionParser(TokenStream* tokens, NameTable* names, int max_depth)
      : tokens_(tokens), names_(names), max_depth_(max_depth) {}

  // `with_conditional`: whether `a if b else c` may follow.
  absl::StatusOr<ExpressionPtr> ParseExpression(bool with_conditional = true);
  // The same, or several with commas between them: a tuple.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_conditional = true);
  // name, namespace.attribute, (a, b) or a, b.
  absl::StatusOr<Target> ParseTarget();
  // filter|filter|... around what a block collects. A bar comes first if `begins_with_bar`, and
  // then there may be no filter at all.
  absl::StatusOr<ExpressionPtr> ParseBlockFilters(bool begins_with_bar);

  // Inside of an {% if %}, filters and tests that are not known are errors only when they are
  // reached, as in Jinja: templates try out what their engine has.
  void EnterConditionalBody() { ++conditional_bodies_; }
  void LeaveConditionalBody() { --conditional_bodies_; }

 private:
  using Parsed = absl::StatusOr<ExpressionPtr>;

  template <typename Node>
  Parsed Make(int line, int depth_below, Node node);
  Parsed ParseOr();
  Parsed ParseAnd();
  Parsed ParseNot();
  Parsed ParseComparison();
  Parsed ParseSum();
  Parsed ParseConcatenation();
  Parsed ParseProduct();
  Parsed ParsePower();
  Parsed ParseUnary(bool with_filters = true);
  Parsed ParseUnaryInner(bool with_filters);
  Parsed ParsePrimary();
  Parsed ParseNumber();
  Parsed ParseParenthesis();
  Parsed ParseList();
  Parsed ParseDict();
  Parsed ParsePostfix(ExpressionPtr value);
  Parsed ParseSubscript(ExpressionPtr object);
  Parsed ParseFilters(ExpressionPtr value);
  Parsed ParseFilter(ExpressionPtr value);
  Parsed ParseTest(ExpressionPtr value);
  Parsed ParseCall(ExpressionPtr callee);
  absl::StatusOr<CallArguments> ParseArguments();
  absl::StatusOr<Target> ParseOneTarget();
  bool IsTupleEnd() const;

  TokenStream* const tokens_;
  NameTable* const names_;
  const int max_depth_;
  int depth_ = 0;  // of calls
  int conditional_bodies_ = 0;
};

// `depth_below`: of the expressions inside `node`.
template <typename Node>
absl::StatusOr<ExpressionPtr> ExpressionParser::Make(int line, int depth_below, Node node) {
  if (depth_below >= max_depth_) {
    return TokenStream::Error(
        line, absl::StrCat("the expression is nested more than ", max_depth_, " deep"));
  }
  return std::make_unique<Expression>(Expression{line, depth_below + 1, std::move(node)});
}

}  // namespace quartet::tokenizer::jinja
