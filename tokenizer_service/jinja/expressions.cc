// Expressions, see evaluator.h.
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/evaluator.h"
#include "tokenizer_service/jinja/print.h"

namespace quartet::tokenizer::jinja {

absl::StatusOr<Value> Evaluator::Evaluate(const ExpressionPtr& expression, Scope* scope) {
  if (const absl::Status status = heap_.Step(); !status.ok()) return At(expression->line, status);
  if (depth_ >= heap_.limits().max_depth) {
    return At(expression->line, absl::ResourceExhaustedError(absl::StrCat(
                                    "the template runs more than ", heap_.limits().max_depth,
                                    " levels deep; does a macro call itself?")));
  }
  ++depth_;
  Evaluated value = std::visit(
      [&](const auto& node) { return Eval(node, expression->line, scope); }, expression->node);
  --depth_;
  return value;
}

Value Evaluator::Lookup(int name, Scope* scope) const {
  for (; scope != nullptr; scope = scope->parent) {
    if (const Value* const found = scope->Find(name); found != nullptr) return *found;
  }
  return Value::Undefined(Missing::kVariable, program_.names[static_cast<size_t>(name)]);
}

absl::StatusOr<Value> Evaluator::Eval(const Constant& constant, int, Scope*) {
  return constant.value;
}

absl::StatusOr<Value> Evaluator::Eval(const TextConstant& constant, int, Scope*) {
  return Value::String(constant.text);
}

absl::StatusOr<Value> Evaluator::Eval(const Name& name, int, Scope* scope) {
  return Lookup(name.name, scope);
}

absl::StatusOr<Value> Evaluator::Eval(const CapturedText&, int, Scope*) { return captured_; }

absl::StatusOr<Value> Evaluator::Eval(const ListDisplay& list, int, Scope* scope) {
  std::vector<Value> items;
  items.reserve(list.items.size());
  for (const ExpressionPtr& expression : list.items) {
    ASSIGN_OR_RETURN(const Value item, Evaluate(expression, scope));
    items.push_back(item);
  }
  return heap_.NewList(std::move(items), list.is_tuple ? ListKind::kTuple : ListKind::kList);
}

absl::StatusOr<Value> Evaluator::Eval(const DictDisplay& display, int line, Scope* scope) {
  Dict* const dict = heap_.NewDict();
  for (const auto& [key_expression, value_expression] : display.entries) {
    ASSIGN_OR_RETURN(const Value key, Evaluate(key_expression, scope));
    ASSIGN_OR_RETURN(const Value value, Evaluate(value_expression, scope));
    if (!key.is_string() && !key.is_number() && !key.is_none()) {
      return ErrorAt(line, absl::StrCat("a ", TypeName(key), " can't be the key of a dict"));
    }
    dict->Set(key, value);
  }
  heap_.CountEntries(dict->entries.size());
  return Value::Of(dict);
}

absl::StatusOr<Value> Evaluator::Eval(const Attribute& attribute, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(attribute.object, scope));
  const Evaluated value = GetAttribute(object, attribute.name, &heap_);
  return value.ok() ? value : At(line, value.status());
}

absl::StatusOr<Value> Evaluator::Eval(const Subscript& subscript, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(subscript.object, scope));
  ASSIGN_OR_RETURN(const Value key, Evaluate(subscript.key, scope));
  const Evaluated value = GetItem(object, key, &heap_);
  return value.ok() ? value : At(line, value.status());
}

absl::StatusOr<Value> Evaluator::Eval(const Slice& slice, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(slice.object, scope));
  Value bounds[3];
  const ExpressionPtr* const expressions[3] = {&slice.start, &slice.stop, &slice.step};
  for (int i = 0; i < 3; ++i) {
    if (*expressions[i] == nullptr) continue;
    ASSIGN_OR_RETURN(bounds[i], Evaluate(*expressions[i], scope));
  }
  const Evaluated value = GetSlice(object, bounds[0], bounds[1], bounds[2], &heap_);
  return value.ok() ? value : At(line, value.status());
}

absl::StatusOr<Value> Evaluator::Eval(const Not& negation, int, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(negation.operand, scope));
  return Value::Bool(!IsTrue(value));
}

absl::StatusOr<Value> Evaluator::Eval(const Sign& sign, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value operand, Evaluate(sign.operand, scope));
  const Evaluated value = sign.is_minus
                              ? Negate(operand)
                              : Calculate(BinaryOperator::kAdd, Value::Int(0), operand, &heap_);
  return value.ok() ? value : At(line, value.status());
}

absl::StatusOr<Value> Evaluator::Eval(const Binary& binary, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value left, Evaluate(binary.left, scope));
  ASSIGN_OR_RETURN(const Value right, Evaluate(binary.right, scope));
  const Evaluated value = Calculate(binary.op, left, right, &heap_);
  return value.ok() ? value : At(line, value.status());
}

absl::StatusOr<Value> Evaluator::Eval(const Concatenation& concatenation, int line, Scope* scope) {
  std::string text;
  for (const ExpressionPtr& part : concatenation.parts) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(part, scope));
    const absl::StatusOr<absl::string_view> part_text = ToText(value, &heap_);
    if (!part_text.ok()) return At(line, part_text.status());
    absl::StrAppend(&text, *part_text);
  }
  if (const absl::Status status = heap_.WorkOnBytes(text.size()); !status.ok()) {
    return At(line, status);
  }
  return heap_.NewString(std::move(text));
}

absl::StatusOr<Value> Evaluator::Eval(const Comparison& comparison, int line, Scope* scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(comparison.first, scope));
  for (const auto& [op, expression] : comparison.others) {
    ASSIGN_OR_RETURN(const Value right, Evaluate(expression, scope));
    const absl::StatusOr<bool> holds = Compare(op, left, right, &heap_);
    if (!holds.ok()) return At(line, holds.status());
    if (!*holds) return Value::Bool(false);
    left = right;
  }
  return Value::Bool(true);
}

absl::StatusOr<Value> Evaluator::Eval(const Logical& logical, int, Scope* scope) {
  ASSIGN_OR_RETURN(const Value left, Evaluate(logical.left, scope));
  if (IsTrue(left) != logical.is_and) return left;
  return Evaluate(logical.right, scope);
}

absl::StatusOr<Value> Evaluator::Eval(const Conditional& conditional, int, Scope* scope) {
  ASSIGN_OR_RETURN(const Value condition, Evaluate(conditional.condition, scope));
  if (IsTrue(condition)) return Evaluate(conditional.value, scope);
  if (conditional.otherwise != nullptr) return Evaluate(conditional.otherwise, scope);
  return Value::Undefined(Missing::kOther, "the condition is false and there is no 'else'");
}

}  // namespace quartet::tokenizer::jinja
