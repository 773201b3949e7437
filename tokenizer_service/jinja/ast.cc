#include "tokenizer_service/jinja/ast.h"

#include <algorithm>

namespace quartet::tokenizer::jinja {

int Depth(const ExpressionPtr& expression) { return expression == nullptr ? 0 : expression->depth; }

int Depth(const std::vector<ExpressionPtr>& expressions) {
  int depth = 0;
  for (const ExpressionPtr& expression : expressions) depth = std::max(depth, Depth(expression));
  return depth;
}

int Depth(const CallArguments& arguments) {
  int depth = std::max(Depth(arguments.positional), Depth(arguments.more_positional));
  for (const auto& [name, value] : arguments.keyword) depth = std::max(depth, Depth(value));
  return std::max(depth, Depth(arguments.more_keyword));
}

}  // namespace quartet::tokenizer::jinja
