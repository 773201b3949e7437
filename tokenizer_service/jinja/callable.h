// What templates can call: functions, filters, methods of values (all C++ functions of one shape)
// and macros.
#pragma once

#include <ctime>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

class Heap;
struct Macro;  // ast.h

// Variables of one block of the template, by number of their name.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<int, Value>> variables;

  // The variable of this scope alone; null if there is none.
  Value* Find(int name);
  void Set(int name, const Value& value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<absl::string_view, Value>> keyword;
};

// What functions know of the rendering they run in.
struct Context {
  Heap& heap;
  std::time_t now;  // for strftime_now()
};

// `self` is the value that a filter or method is applied to; none for plain functions. Errors name
// neither the function nor the line; the caller adds them.
using Function = absl::StatusOr<Value> (*)(Context& context, const Value& self,
                                           const Arguments& arguments);
using TestFunction = absl::StatusOr<bool> (*)(Context& context, const Value& self,
                                              const Arguments& arguments);

struct Callable {
  absl::string_view name;
  Function function = nullptr;  // null for macros
  Value self;
  const Macro* macro = nullptr;
  Scope* scope = nullptr;  // where the macro stands
};

// Arguments in the order of the parameters' names, absent ones empty. INVALID_ARGUMENT if one is
// unknown, given twice, or missing among the first `num_required`.
absl::StatusOr<std::vector<std::optional<Value>>> Bind(
    const Arguments& arguments, std::initializer_list<absl::string_view> parameters,
    size_t num_required = 0);

}  // namespace quartet::tokenizer::jinja
