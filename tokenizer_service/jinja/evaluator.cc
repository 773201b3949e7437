#include "tokenizer_service/jinja/evaluator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/globals.h"
#include "tokenizer_service/jinja/print.h"

namespace quartet::tokenizer::jinja {

Evaluator::Evaluator(const Program& program, Heap* heap, std::time_t now)
    : program_(program),
      heap_(*heap),
      context_{*heap, now},
      loop_name_(FindName("loop")),
      caller_name_(FindName("caller")),
      varargs_name_(FindName("varargs")),
      kwargs_name_(FindName("kwargs")) {}

int Evaluator::FindName(absl::string_view name) const {
  for (size_t i = 0; i < program_.names.size(); ++i) {
    if (program_.names[i] == name) return static_cast<int>(i);
  }
  return -1;
}

absl::Status Evaluator::At(int line, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
}

absl::Status Evaluator::ErrorAt(int line, absl::string_view what) {
  return At(line, absl::InvalidArgumentError(what));
}

absl::StatusOr<std::string> Evaluator::Run(const Dict& variables) {
  Scope* const globals = heap_.NewScope(nullptr);
  for (size_t i = 0; i < program_.names.size(); ++i) {
    const std::string& name = program_.names[i];
    const Value* const given = variables.Find(name);
    const Value value = given != nullptr ? *given : FindGlobal(name, &heap_);
    if (given != nullptr || !value.is_none()) globals->Set(static_cast<int>(i), value);
  }
  std::string text;
  out_ = &text;
  RETURN_IF_ERROR(Execute(program_.body, heap_.NewScope(globals)).status());
  return text;
}

absl::Status Evaluator::Print(absl::string_view text, int line) {
  if (const absl::Status status = heap_.WorkOnBytes(text.size()); !status.ok()) {
    return At(line, status);
  }
  if (text.size() > heap_.limits().max_output_bytes - out_->size()) {
    return At(line, absl::ResourceExhaustedError(absl::StrCat(
                        "the prompt has more than ", heap_.limits().max_output_bytes, " bytes")));
  }
  out_->append(text.data(), text.size());
  return absl::OkStatus();
}

absl::StatusOr<Value> Evaluator::Capture(const Body& body, Scope* scope) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  const Ran ran = Execute(body, scope);
  out_ = outer;
  RETURN_IF_ERROR(ran.status());
  return heap_.NewString(std::move(text));
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Body& body, Scope* scope) {
  if (depth_ >= heap_.limits().max_depth) {
    return At(body.empty() ? 0 : body.front()->line,
              absl::ResourceExhaustedError(
                  absl::StrCat("the template runs more than ", heap_.limits().max_depth,
                               " levels deep; does a macro call itself?")));
  }
  ++depth_;
  for (const std::unique_ptr<Statement>& statement : body) {
    const Ran ran =
        std::visit([&](const auto& node) { return RunStatement(node, statement->line, scope); },
                   statement->node);
    if (!ran.ok() || *ran != Flow::kNormal) {
      --depth_;
      return ran;
    }
  }
  --depth_;
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Text& text, int line, Scope*) {
  RETURN_IF_ERROR(Print(text.text, line));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Output& output, int line,
                                                        Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(output.value, scope));
  const absl::StatusOr<absl::string_view> text = ToText(value, &heap_);
  if (!text.ok()) return At(line, text.status());
  RETURN_IF_ERROR(Print(*text, line));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const If& statement, int, Scope* scope) {
  for (const auto& [condition, body] : statement.branches) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(condition, scope));
    if (IsTrue(value)) return Execute(body, scope);
  }
  return Execute(statement.otherwise, scope);
}

absl::StatusOr<const std::vector<Value>*> Evaluator::LoopItems(const For& loop, const Value& value,
                                                               int line, Scope* scope) {
  const absl::StatusOr<const std::vector<Value>*> items = Items(value, &heap_);
  if (!items.ok()) return At(line, items.status());
  if (loop.condition == nullptr) return *items;
  std::vector<Value> chosen;
  Scope* const inner = heap_.NewScope(scope);
  for (const Value& item : **items) {
    inner->variables.clear();
    RETURN_IF_ERROR(Assign(loop.target, item, line, inner));
    ASSIGN_OR_RETURN(const Value condition, Evaluate(loop.condition, inner));
    if (IsTrue(condition)) chosen.push_back(item);
  }
  return &heap_.NewList(std::move(chosen)).list().items;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const For& loop, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(loop.items, scope));
  List* const generator =
      value.is_list() && value.list().kind == ListKind::kGenerator ? &value.list() : nullptr;
  const size_t begin = generator == nullptr ? 0 : generator->next;
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, LoopItems(loop, value, line, scope));
  if (items->empty()) {
    RETURN_IF_ERROR(Execute(loop.otherwise, heap_.NewScope(scope)).status());
    return Flow::kNormal;
  }
  Loop* const state = heap_.NewLoop();
  state->items = items;
  Scope* const inner = heap_.NewScope(scope);
  for (size_t i = 0; i < items->size(); ++i) {
    if (const absl::Status status = heap_.Step(); !status.ok()) return At(line, status);
    state->index0 = i;
    // Every round starts with the variables of the loop alone.
    inner->variables.clear();
    if (loop_name_ >= 0) inner->Set(loop_name_, Value::Of(state));
    RETURN_IF_ERROR(Assign(loop.target, (*items)[i], line, inner));
    ASSIGN_OR_RETURN(const Flow flow, Execute(loop.body, inner));
    if (flow != Flow::kBreak) continue;
    // What a generator did not give yet is still there.
    if (generator != nullptr && loop.condition == nullptr) generator->next = begin + i + 1;
    break;
  }
  return Flow::kNormal;
}

absl::Status Evaluator::Assign(const Target& target, const Value& value, int line, Scope* scope) {
  if (!target.elements.empty()) {
    const absl::StatusOr<const std::vector<Value>*> items = Items(value, &heap_);
    if (!items.ok()) return At(line, items.status());
    if ((*items)->size() != target.elements.size()) {
      return ErrorAt(line, absl::StrCat("expected ", target.elements.size(),
                                        " values to take apart, got ", (*items)->size()));
    }
    for (size_t i = 0; i < target.elements.size(); ++i) {
      RETURN_IF_ERROR(Assign(target.elements[i], (**items)[i], line, scope));
    }
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    scope->Set(target.name, value);
    return absl::OkStatus();
  }
  const Value object = Lookup(target.name, scope);
  if (!object.is(Kind::kNamespace)) {
    return ErrorAt(line, absl::StrCat("can't assign to an attribute of '",
                                      program_.names[static_cast<size_t>(target.name)],
                                      "': it is no namespace()"));
  }
  object.dict().Set(Value::String(target.attribute), value);
  heap_.CountEntries(1);
  return absl::OkStatus();
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Set& set, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(set.value, scope));
  RETURN_IF_ERROR(Assign(set.target, value, line, scope));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const SetBlock& block, int line,
                                                        Scope* scope) {
  ASSIGN_OR_RETURN(captured_, Capture(block.body, heap_.NewScope(scope)));
  ASSIGN_OR_RETURN(const Value value, Evaluate(block.value, scope));
  RETURN_IF_ERROR(Assign(block.target, value, line, scope));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const FilterBlock& block, int line,
                                                        Scope* scope) {
  ASSIGN_OR_RETURN(captured_, Capture(block.body, heap_.NewScope(scope)));
  ASSIGN_OR_RETURN(const Value value, Evaluate(block.value, scope));
  const absl::StatusOr<absl::string_view> text = ToText(value, &heap_);
  if (!text.ok()) return At(line, text.status());
  RETURN_IF_ERROR(Print(*text, line));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Macro& macro, int, Scope* scope) {
  Callable* const callable = heap_.NewCallable();
  callable->name = macro.text_name;
  callable->macro = &macro;
  callable->scope = scope;
  scope->Set(macro.name, Value::Of(callable));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const CallBlock& block, int line,
                                                        Scope* scope) {
  const Call& call = std::get<Call>(block.call->node);
  Callable* const caller = heap_.NewCallable();
  caller->name = block.caller.text_name;
  caller->macro = &block.caller;
  caller->scope = scope;
  ASSIGN_OR_RETURN(const Value callee, Evaluate(call.callee, scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(call.arguments, line, scope));
  arguments.keyword.emplace_back("caller", Value::Of(caller));
  ASSIGN_OR_RETURN(const Value value, Invoke(callee, arguments, line));
  const absl::StatusOr<absl::string_view> text = ToText(value, &heap_);
  if (!text.ok()) return At(line, text.status());
  RETURN_IF_ERROR(Print(*text, line));
  return Flow::kNormal;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const With& with, int line, Scope* scope) {
  Scope* const inner = heap_.NewScope(scope);
  for (const auto& [target, expression] : with.variables) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(expression, scope));
    RETURN_IF_ERROR(Assign(target, value, line, inner));
  }
  return Execute(with.body, inner);
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Generation& generation, int,
                                                        Scope* scope) {
  return Execute(generation.body, heap_.NewScope(scope));
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Break&, int, Scope*) {
  return Flow::kBreak;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Continue&, int, Scope*) {
  return Flow::kContinue;
}

}  // namespace quartet::tokenizer::jinja
