#include "tokenizer_service/jinja/loop_attributes.h"

#include "common/status_macros.h"
#include "tokenizer_service/jinja/operators.h"

namespace quartet::tokenizer::jinja {
namespace {

absl::StatusOr<Value> Cycle(Context&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.keyword.empty()) {
    return absl::InvalidArgumentError("needs the values to go round");
  }
  return arguments.positional[self.loop().index0 % arguments.positional.size()];
}

absl::StatusOr<Value> Changed(Context& context, const Value& self, const Arguments& arguments) {
  if (!arguments.keyword.empty()) return absl::InvalidArgumentError("takes no named arguments");
  Loop& loop = self.loop();
  bool same = loop.has_changed && loop.last_changed.size() == arguments.positional.size();
  for (size_t i = 0; same && i < loop.last_changed.size(); ++i) {
    ASSIGN_OR_RETURN(same, Equals(loop.last_changed[i], arguments.positional[i], &context.heap));
  }
  loop.last_changed = arguments.positional;
  loop.has_changed = true;
  return Value::Bool(!same);
}

Value Method(const Value& loop, absl::string_view name, Function function, Heap* heap) {
  Callable* const callable = heap->NewCallable();
  callable->name = name;
  callable->function = function;
  callable->self = loop;
  return Value::Of(callable);
}

}  // namespace

absl::StatusOr<Value> LoopAttribute(const Value& value, absl::string_view name, Heap* heap) {
  const Loop& loop = value.loop();
  const auto size = static_cast<int64_t>(loop.items->size());
  const auto index0 = static_cast<int64_t>(loop.index0);
  if (name == "index") return Value::Int(index0 + 1);
  if (name == "index0") return Value::Int(index0);
  if (name == "revindex") return Value::Int(size - index0);
  if (name == "revindex0") return Value::Int(size - index0 - 1);
  if (name == "first") return Value::Bool(index0 == 0);
  if (name == "last") return Value::Bool(index0 + 1 == size);
  if (name == "length") return Value::Int(size);
  if (name == "depth") return Value::Int(1);  // `recursive` is refused by the parser
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") {
    return index0 == 0 ? Value::Undefined(Missing::kOther, "there is no previous item")
                       : (*loop.items)[loop.index0 - 1];
  }
  if (name == "nextitem") {
    return index0 + 1 == size ? Value::Undefined(Missing::kOther, "there is no next item")
                              : (*loop.items)[loop.index0 + 1];
  }
  if (name == "cycle") return Method(value, "cycle", Cycle, heap);
  if (name == "changed") return Method(value, "changed", Changed, heap);
  return Value::Undefined(Missing::kAttribute, name);
}

}  // namespace quartet::tokenizer::jinja
