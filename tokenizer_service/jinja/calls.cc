// Calls of functions, methods, filters, tests and macros, see evaluator.h.
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/evaluator.h"

namespace quartet::tokenizer::jinja {
namespace {

// About how many bytes of it a function goes through.
size_t Size(const Value& value) {
  if (value.is_string()) return value.text().size();
  if (value.is_list()) return value.list().items.size() * sizeof(Value);
  if (value.is_dict()) return value.dict().entries.size() * sizeof(Value);
  return 0;
}

}  // namespace

absl::StatusOr<Arguments> Evaluator::EvaluateArguments(const CallArguments& arguments, int line,
                                                       Scope* scope) {
  Arguments evaluated;
  for (const ExpressionPtr& expression : arguments.positional) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(expression, scope));
    evaluated.positional.push_back(value);
  }
  if (arguments.more_positional != nullptr) {
    ASSIGN_OR_RETURN(const Value more, Evaluate(arguments.more_positional, scope));
    const absl::StatusOr<const std::vector<Value>*> items = Items(more, &heap_);
    if (!items.ok()) return At(line, items.status());
    evaluated.positional.insert(evaluated.positional.end(), (*items)->begin(), (*items)->end());
  }
  for (const auto& [name, expression] : arguments.keyword) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(expression, scope));
    evaluated.keyword.emplace_back(name, value);
  }
  if (arguments.more_keyword == nullptr) return evaluated;
  ASSIGN_OR_RETURN(const Value more, Evaluate(arguments.more_keyword, scope));
  if (!more.is_dict()) {
    return ErrorAt(line, absl::StrCat("** needs a dict, not ", TypeName(more)));
  }
  for (const auto& [key, value] : more.dict().entries) {
    if (!key.is_string()) return ErrorAt(line, "** needs a dict with text keys");
    evaluated.keyword.emplace_back(key.text(), value);
  }
  return evaluated;
}

absl::Status Evaluator::ChargeFor(const Value& self, const Arguments& arguments) {
  size_t num_bytes = Size(self);
  for (const Value& value : arguments.positional) num_bytes += Size(value);
  for (const auto& [name, value] : arguments.keyword) num_bytes += Size(value);
  return heap_.WorkOnBytes(num_bytes);
}

absl::StatusOr<Value> Evaluator::Eval(const Call& call, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(call.callee, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(call.arguments, line, scope));
  return Invoke(callee, arguments, line);
}

absl::StatusOr<Value> Evaluator::Invoke(const Value& callee, const Arguments& arguments, int line) {
  if (callee.is_undefined()) return ErrorAt(line, ExplainUndefined(callee));
  if (!callee.is(Kind::kCallable)) {
    return ErrorAt(line, absl::StrCat("a value of type ", TypeName(callee), " can't be called"));
  }
  const Callable& callable = callee.callable();
  if (callable.macro != nullptr) return InvokeMacro(callable, arguments, line);
  if (const absl::Status status = ChargeFor(callable.self, arguments); !status.ok()) {
    return At(line, status);
  }
  const Evaluated value = callable.function(context_, callable.self, arguments);
  if (value.ok()) return value;
  const bool says_all = callable.name == "raise_exception";
  return At(line,
            absl::Status(value.status().code(),
                         says_all ? std::string(value.status().message())
                                  : absl::StrCat(callable.name, "(): ", value.status().message())));
}

absl::StatusOr<Value> Evaluator::Eval(const FilterCall& filter, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value input, Evaluate(filter.input, scope));
  if (filter.function == nullptr) {
    return ErrorAt(line, absl::StrCat("the filter '", filter.name, "' is not supported"));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(filter.arguments, line, scope));
  if (const absl::Status status = ChargeFor(input, arguments); !status.ok()) {
    return At(line, status);
  }
  const Evaluated value = filter.function(context_, input, arguments);
  if (value.ok()) return value;
  return At(line,
            absl::Status(value.status().code(), absl::StrCat("the filter '", filter.name,
                                                             "': ", value.status().message())));
}

absl::StatusOr<Value> Evaluator::Eval(const TestCall& test, int line, Scope* scope) {
  ASSIGN_OR_RETURN(const Value input, Evaluate(test.input, scope));
  if (test.function == nullptr) {
    return ErrorAt(line, absl::StrCat("the test '", test.name, "' is not supported"));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(test.arguments, line, scope));
  const absl::StatusOr<bool> passes = test.function(context_, input, arguments);
  if (passes.ok()) return Value::Bool(*passes);
  return At(line,
            absl::Status(passes.status().code(),
                         absl::StrCat("the test '", test.name, "': ", passes.status().message())));
}

absl::Status Evaluator::BindKeyword(const Macro& macro, absl::string_view name, const Value& value,
                                    Dict* others, int line, Scope* scope) {
  for (const Parameter& parameter : macro.parameters) {
    if (program_.names[static_cast<size_t>(parameter.name)] != name) continue;
    if (scope->Find(parameter.name) != nullptr) {
      return ErrorAt(line,
                     absl::StrCat("the macro '", macro.text_name, "' got '", name, "' twice"));
    }
    scope->Set(parameter.name, value);
    return absl::OkStatus();
  }
  if (name == "caller" && caller_name_ >= 0) {
    scope->Set(caller_name_, value);
  } else if (kwargs_name_ >= 0) {
    others->Set(Value::String(name), value);
    heap_.CountEntries(1);
  } else {
    return ErrorAt(line,
                   absl::StrCat("the macro '", macro.text_name, "' has no argument '", name, "'"));
  }
  return absl::OkStatus();
}

absl::Status Evaluator::BindParameters(const Macro& macro, const Arguments& arguments, int line,
                                       Scope* scope) {
  const size_t num_given = arguments.positional.size();
  const size_t num_taken = std::min(num_given, macro.parameters.size());
  for (size_t i = 0; i < num_taken; ++i) {
    scope->Set(macro.parameters[i].name, arguments.positional[i]);
  }
  if (num_given > num_taken && varargs_name_ < 0) {
    return ErrorAt(line, absl::StrCat("the macro '", macro.text_name, "' takes at most ",
                                      macro.parameters.size(), " arguments, got ", num_given));
  }
  Dict* const others = heap_.NewDict();
  for (const auto& [name, value] : arguments.keyword) {
    RETURN_IF_ERROR(BindKeyword(macro, name, value, others, line, scope));
  }
  for (const Parameter& parameter : macro.parameters) {
    if (scope->Find(parameter.name) != nullptr) continue;
    Value value =
        Value::Undefined(Missing::kVariable, program_.names[static_cast<size_t>(parameter.name)]);
    if (parameter.default_value != nullptr) {
      ASSIGN_OR_RETURN(value, Evaluate(parameter.default_value, scope));
    }
    scope->Set(parameter.name, value);
  }
  if (varargs_name_ >= 0) {
    std::vector<Value> rest(arguments.positional.begin() + static_cast<int64_t>(num_taken),
                            arguments.positional.end());
    scope->Set(varargs_name_, heap_.NewList(std::move(rest), ListKind::kTuple));
  }
  if (kwargs_name_ >= 0) scope->Set(kwargs_name_, Value::Of(others));
  if (caller_name_ >= 0 && scope->Find(caller_name_) == nullptr) {
    scope->Set(caller_name_, Value::Undefined(Missing::kOther, "nothing is in {% call %} here"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Evaluator::InvokeMacro(const Callable& callable, const Arguments& arguments,
                                             int line) {
  Scope* const scope = heap_.NewScope(callable.scope);
  RETURN_IF_ERROR(BindParameters(*callable.macro, arguments, line, scope));
  return Capture(callable.macro->body, scope);
}

}  // namespace quartet::tokenizer::jinja
