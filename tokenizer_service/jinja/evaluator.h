// Runs a template. One evaluator renders once.
#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/ast.h"
#include "tokenizer_service/jinja/heap.h"

namespace quartet::tokenizer::jinja {

class Evaluator {
 public:
  Evaluator(const Program& program, Heap* heap, std::time_t now);

  // The template's text. Errors name the line: INVALID_ARGUMENT, or RESOURCE_EXHAUSTED if a limit
  // is reached.
  absl::StatusOr<std::string> Run(const Dict& variables);

 private:
  // How a body was left.
  enum class Flow { kNormal, kBreak, kContinue };
  using Ran = absl::StatusOr<Flow>;
  using Evaluated = absl::StatusOr<Value>;

  // Statements (evaluator.cc).
  Ran Execute(const Body& body, Scope* scope);
  Ran RunStatement(const Text& text, int line, Scope* scope);
  Ran RunStatement(const Output& output, int line, Scope* scope);
  Ran RunStatement(const If& statement, int line, Scope* scope);
  Ran RunStatement(const For& loop, int line, Scope* scope);
  Ran RunStatement(const Set& set, int line, Scope* scope);
  Ran RunStatement(const SetBlock& block, int line, Scope* scope);
  Ran RunStatement(const FilterBlock& block, int line, Scope* scope);
  Ran RunStatement(const Macro& macro, int line, Scope* scope);
  Ran RunStatement(const CallBlock& block, int line, Scope* scope);
  Ran RunStatement(const With& with, int line, Scope* scope);
  Ran RunStatement(const Generation& generation, int line, Scope* scope);
  Ran RunStatement(const Break& statement, int line, Scope* scope);
  Ran RunStatement(const Continue& statement, int line, Scope* scope);
  absl::StatusOr<const std::vector<Value>*> LoopItems(const For& loop, const Value& value, int line,
                                                      Scope* scope);
  absl::Status Assign(const Target& target, const Value& value, int line, Scope* scope);
  absl::Status Print(absl::string_view text, int line);
  // The text that `body` prints.
  absl::StatusOr<Value> Capture(const Body& body, Scope* scope);

  // Expressions (expressions.cc).
  Evaluated Evaluate(const ExpressionPtr& expression, Scope* scope);
  Evaluated Eval(const Constant& constant, int line, Scope* scope);
  Evaluated Eval(const TextConstant& constant, int line, Scope* scope);
  Evaluated Eval(const Name& name, int line, Scope* scope);
  Evaluated Eval(const ListDisplay& list, int line, Scope* scope);
  Evaluated Eval(const DictDisplay& dict, int line, Scope* scope);
  Evaluated Eval(const Attribute& attribute, int line, Scope* scope);
  Evaluated Eval(const Subscript& subscript, int line, Scope* scope);
  Evaluated Eval(const Slice& slice, int line, Scope* scope);
  Evaluated Eval(const Call& call, int line, Scope* scope);
  Evaluated Eval(const FilterCall& filter, int line, Scope* scope);
  Evaluated Eval(const TestCall& test, int line, Scope* scope);
  Evaluated Eval(const Not& negation, int line, Scope* scope);
  Evaluated Eval(const Sign& sign, int line, Scope* scope);
  Evaluated Eval(const Binary& binary, int line, Scope* scope);
  Evaluated Eval(const Concatenation& concatenation, int line, Scope* scope);
  Evaluated Eval(const Comparison& comparison, int line, Scope* scope);
  Evaluated Eval(const Logical& logical, int line, Scope* scope);
  Evaluated Eval(const Conditional& conditional, int line, Scope* scope);
  Evaluated Eval(const CapturedText& captured, int line, Scope* scope);
  Value Lookup(int name, Scope* scope) const;

  // Calls (calls.cc).
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& arguments, int line,
                                              Scope* scope);
  // Steps for going through what a function is given.
  absl::Status ChargeFor(const Value& self, const Arguments& arguments);
  Evaluated Invoke(const Value& callee, const Arguments& arguments, int line);
  Evaluated InvokeMacro(const Callable& callable, const Arguments& arguments, int line);
  absl::Status BindParameters(const Macro& macro, const Arguments& arguments, int line,
                              Scope* scope);
  absl::Status BindKeyword(const Macro& macro, absl::string_view name, const Value& value,
                           Dict* others, int line, Scope* scope);

  int FindName(absl::string_view name) const;
  // `status` with the line in front.
  static absl::Status At(int line, const absl::Status& status);
  static absl::Status ErrorAt(int line, absl::string_view what);

  const Program& program_;
  Heap& heap_;
  Context context_;
  // Numbers of names that mean something to the evaluator; -1 if the template doesn't use them.
  const int loop_name_, caller_name_, varargs_name_, kwargs_name_;
  std::string* out_ = nullptr;  // where text goes
  Value captured_;              // what CapturedText stands for
  int depth_ = 0;
};

}  // namespace quartet::tokenizer::jinja
