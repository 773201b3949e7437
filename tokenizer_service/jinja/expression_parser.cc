#include "tokenizer_service/jinja/expression_parser.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "common/status_macros.h"

namespace quartet::tokenizer::jinja {
namespace {

struct OperatorName {
  absl::string_view text;
  BinaryOperator op;
};
constexpr OperatorName kSumOperators[] = {{"+", BinaryOperator::kAdd},
                                          {"-", BinaryOperator::kSubtract}};
constexpr OperatorName kProductOperators[] = {{"*", BinaryOperator::kMultiply},
                                              {"/", BinaryOperator::kDivide},
                                              {"//", BinaryOperator::kFloorDivide},
                                              {"%", BinaryOperator::kModulo}};
constexpr OperatorName kPowerOperators[] = {{"**", BinaryOperator::kPower}};

template <size_t kSize>
std::optional<BinaryOperator> TakeBinary(const OperatorName (&operators)[kSize],
                                         TokenStream* tokens) {
  for (const OperatorName& known : operators) {
    if (tokens->TakeOperator(known.text)) return known.op;
  }
  return std::nullopt;
}

std::optional<CompareOperator> TakeCompare(TokenStream* tokens) {
  if (tokens->TakeOperator("==")) return CompareOperator::kEqual;
  if (tokens->TakeOperator("!=")) return CompareOperator::kNotEqual;
  if (tokens->TakeOperator("<=")) return CompareOperator::kLessEqual;
  if (tokens->TakeOperator(">=")) return CompareOperator::kGreaterEqual;
  if (tokens->TakeOperator("<")) return CompareOperator::kLess;
  if (tokens->TakeOperator(">")) return CompareOperator::kGreater;
  if (tokens->TakeName("in")) return CompareOperator::kIn;
  if (tokens->IsName("not") && tokens->Is(TokenKind::kName, "in", 1)) {
    tokens->Next();
    tokens->Next();
    return CompareOperator::kNotIn;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseExpression(bool with_conditional) {
  if (!with_conditional) return ParseOr();
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (tokens_->TakeName("if")) {
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (tokens_->TakeName("else")) {
      if (++depth_ > max_depth_) return TokenStream::Error(line, "too many conditions in a row");
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
      --depth_;
    }
    const int depth = Deepest(value, condition, otherwise);
    ASSIGN_OR_RETURN(
        value, Make(line, depth,
                    Conditional{std::move(condition), std::move(value), std::move(otherwise)}));
  }
  return value;
}

bool ExpressionParser::IsTupleEnd() const {
  return tokens_->Is(TokenKind::kVariableEnd) || tokens_->Is(TokenKind::kBlockEnd) ||
         tokens_->IsOperator(")") || tokens_->IsName("recursive");
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTuple(bool with_conditional) {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseExpression(with_conditional));
  if (!tokens_->IsOperator(",")) return first;
  std::vector<ExpressionPtr> items;
  items.push_back(std::move(first));
  while (tokens_->TakeOperator(",")) {
    if (IsTupleEnd()) break;
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression(with_conditional));
    items.push_back(std::move(item));
  }
  const int depth = Depth(items);
  return Make(line, depth, ListDisplay{true, std::move(items)});
}

absl::StatusOr<Target> ExpressionParser::ParseOneTarget() {
  if (tokens_->TakeOperator("(")) {
    if (++depth_ > max_depth_) return TokenStream::Error(tokens_->line(), "too many parentheses");
    ASSIGN_OR_RETURN(Target target, ParseTarget());
    --depth_;
    RETURN_IF_ERROR(tokens_->ExpectOperator(")"));
    return target;
  }
  if (!tokens_->Is(TokenKind::kName)) return tokens_->Unexpected("the name of a variable");
  Target target;
  target.name = names_->Number(tokens_->Next().text);
  if (!tokens_->TakeOperator(".")) return target;
  if (!tokens_->Is(TokenKind::kName)) return tokens_->Unexpected("the name of an attribute");
  target.attribute = tokens_->Next().text;
  return target;
}

absl::StatusOr<Target> ExpressionParser::ParseTarget() {
  ASSIGN_OR_RETURN(Target first, ParseOneTarget());
  if (!tokens_->IsOperator(",")) return first;
  Target target;
  target.elements.push_back(std::move(first));
  while (tokens_->TakeOperator(",")) {
    if (!tokens_->Is(TokenKind::kName) && !tokens_->IsOperator("(")) break;
    if (tokens_->IsName("in")) break;
    ASSIGN_OR_RETURN(Target next, ParseOneTarget());
    target.elements.push_back(std::move(next));
  }
  return target;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseOr() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (tokens_->TakeName("or")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    const int depth = Deepest(left, right);
    ASSIGN_OR_RETURN(left, Make(line, depth, Logical{false, std::move(left), std::move(right)}));
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseAnd() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (tokens_->TakeName("and")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    const int depth = Deepest(left, right);
    ASSIGN_OR_RETURN(left, Make(line, depth, Logical{true, std::move(left), std::move(right)}));
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseNot() {
  const int line = tokens_->line();
  int num_nots = 0;
  while (tokens_->TakeName("not")) ++num_nots;
  ASSIGN_OR_RETURN(ExpressionPtr value, ParseComparison());
  for (int i = 0; i < num_nots; ++i) {
    const int depth = Depth(value);
    ASSIGN_OR_RETURN(value, Make(line, depth, Not{std::move(value)}));
  }
  return value;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseComparison() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  Comparison comparison;
  int depth = Depth(first);
  while (const std::optional<CompareOperator> op = TakeCompare(tokens_)) {
    ASSIGN_OR_RETURN(ExpressionPtr other, ParseSum());
    depth = std::max(depth, Depth(other));
    comparison.others.emplace_back(*op, std::move(other));
  }
  if (comparison.others.empty()) return first;
  comparison.first = std::move(first);
  return Make(line, depth, std::move(comparison));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSum() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseConcatenation());
  while (const std::optional<BinaryOperator> op = TakeBinary(kSumOperators, tokens_)) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseConcatenation());
    const int depth = Deepest(left, right);
    ASSIGN_OR_RETURN(left, Make(line, depth, Binary{*op, std::move(left), std::move(right)}));
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseConcatenation() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!tokens_->IsOperator("~")) return first;
  Concatenation concatenation;
  concatenation.parts.push_back(std::move(first));
  while (tokens_->TakeOperator("~")) {
    ASSIGN_OR_RETURN(ExpressionPtr part, ParseProduct());
    concatenation.parts.push_back(std::move(part));
  }
  const int depth = Depth(concatenation.parts);
  return Make(line, depth, std::move(concatenation));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseProduct() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr left, ParsePower());
  while (const std::optional<BinaryOperator> op = TakeBinary(kProductOperators, tokens_)) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParsePower());
    const int depth = Deepest(left, right);
    ASSIGN_OR_RETURN(left, Make(line, depth, Binary{*op, std::move(left), std::move(right)}));
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePower() {
  const int line = tokens_->line();
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseUnary());
  while (const std::optional<BinaryOperator> op = TakeBinary(kPowerOperators, tokens_)) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseUnary());
    const int depth = Deepest(left, right);
    ASSIGN_OR_RETURN(left, Make(line, depth, Binary{*op, std::move(left), std::move(right)}));
  }
  return left;
}

// All nesting of expressions comes through here.
absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnary(bool with_filters) {
  if (depth_ >= max_depth_) {
    return TokenStream::Error(
        tokens_->line(), absl::StrCat("the expression is nested more than ", max_depth_, " deep"));
  }
  ++depth_;
  Parsed parsed = ParseUnaryInner(with_filters);
  --depth_;
  return parsed;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnaryInner(bool with_filters) {
  const int line = tokens_->line();
  ExpressionPtr value;
  if (tokens_->IsOperator("-") || tokens_->IsOperator("+")) {
    const bool is_minus = tokens_->Next().text == "-";
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(false));
    const int depth = Depth(operand);
    ASSIGN_OR_RETURN(value, Make(line, depth, Sign{is_minus, std::move(operand)}));
  } else {
    ASSIGN_OR_RETURN(value, ParsePrimary());
  }
  ASSIGN_OR_RETURN(value, ParsePostfix(std::move(value)));
  if (!with_filters) return value;
  return ParseFilters(std::move(value));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const Token& token = tokens_->Peek();
  switch (token.kind) {
    case TokenKind::kName: {
      const std::string name = tokens_->Next().text;
      if (name == "true" || name == "True") return Make(token.line, 0, Constant{Value::Bool(true)});
      if (name == "false" || name == "False") {
        return Make(token.line, 0, Constant{Value::Bool(false)});
      }
      if (name == "none" || name == "None") return Make(token.line, 0, Constant{Value::None()});
      return Make(token.line, 0, Name{names_->Number(name)});
    }
    case TokenKind::kString: {
      std::string text;
      while (tokens_->Is(TokenKind::kString)) text += tokens_->Next().text;
      return Make(token.line, 0, TextConstant{std::move(text)});
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (tokens_->IsOperator("(")) return ParseParenthesis();
  if (tokens_->IsOperator("[")) return ParseList();
  if (tokens_->IsOperator("{")) return ParseDict();
  return tokens_->Unexpected("an expression");
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseNumber() {
  const Token& token = tokens_->Next();
  if (token.kind == TokenKind::kFloat) {
    double number = 0;
    if (!absl::SimpleAtod(token.text, &number)) {
      return TokenStream::Error(token.line, absl::StrCat("'", token.text, "' is no number"));
    }
    return Make(token.line, 0, Constant{Value::Float(number)});
  }
  int64_t number = 0;
  if ((token.text.size() > 1 && token.text[0] == '0') || !absl::SimpleAtoi(token.text, &number)) {
    return TokenStream::Error(
        token.line, absl::StrCat("the number ", token.text.substr(0, 40), " is not supported"));
  }
  return Make(token.line, 0, Constant{Value::Int(number)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseParenthesis() {
  const int line = tokens_->Next().line;
  if (tokens_->TakeOperator(")")) return Make(line, 0, ListDisplay{true, {}});
  ASSIGN_OR_RETURN(ExpressionPtr value, ParseTuple());
  RETURN_IF_ERROR(tokens_->ExpectOperator(")"));
  return value;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseList() {
  const int line = tokens_->Next().line;
  std::vector<ExpressionPtr> items;
  while (!tokens_->IsOperator("]")) {
    if (!items.empty()) RETURN_IF_ERROR(tokens_->ExpectOperator(","));
    if (tokens_->IsOperator("]")) break;
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    items.push_back(std::move(item));
  }
  tokens_->Next();
  const int depth = Depth(items);
  return Make(line, depth, ListDisplay{false, std::move(items)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseDict() {
  const int line = tokens_->Next().line;
  DictDisplay dict;
  int depth = 0;
  while (!tokens_->IsOperator("}")) {
    if (!dict.entries.empty()) RETURN_IF_ERROR(tokens_->ExpectOperator(","));
    if (tokens_->IsOperator("}")) break;
    ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    RETURN_IF_ERROR(tokens_->ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    depth = std::max(depth, Deepest(key, value));
    dict.entries.emplace_back(std::move(key), std::move(value));
  }
  tokens_->Next();
  return Make(line, depth, std::move(dict));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePostfix(ExpressionPtr value) {
  while (true) {
    if (tokens_->IsOperator(".") || tokens_->IsOperator("[")) {
      ASSIGN_OR_RETURN(value, ParseSubscript(std::move(value)));
    } else if (tokens_->IsOperator("(")) {
      ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
    } else {
      return value;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr object) {
  const int line = tokens_->line();
  int depth = Depth(object);
  if (tokens_->Next().text == ".") {
    if (tokens_->Is(TokenKind::kName)) {
      return Make(line, depth, Attribute{std::move(object), tokens_->Next().text});
    }
    if (!tokens_->Is(TokenKind::kInteger)) return tokens_->Unexpected("a name or a number");
    ASSIGN_OR_RETURN(ExpressionPtr key, ParseNumber());
    return Make(line, depth, Subscript{std::move(object), std::move(key)});
  }
  ExpressionPtr start, stop, step;
  if (!tokens_->IsOperator(":")) {
    ASSIGN_OR_RETURN(start, ParseExpression());
    if (tokens_->TakeOperator("]")) {
      depth = std::max(depth, Depth(start));
      return Make(line, depth, Subscript{std::move(object), std::move(start)});
    }
  }
  RETURN_IF_ERROR(tokens_->ExpectOperator(":"));
  if (!tokens_->IsOperator(":") && !tokens_->IsOperator("]")) {
    ASSIGN_OR_RETURN(stop, ParseExpression());
  }
  if (tokens_->TakeOperator(":") && !tokens_->IsOperator("]")) {
    ASSIGN_OR_RETURN(step, ParseExpression());
  }
  RETURN_IF_ERROR(tokens_->ExpectOperator("]"));
  depth = std::max(depth, Deepest(start, stop, step));
  return Make(line, depth,
              Slice{std::move(object), std::move(start), std::move(stop), std::move(step)});
}

}  // namespace quartet::tokenizer::jinja
