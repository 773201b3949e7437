// The methods that texts, dicts and lists have. Those that would change a value are not there:
// templates run in an immutable sandbox.
#pragma once

#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

// The method `name` of `object`, bound to it; None if its type has none of that name; undefined
// (kUnsupported) if Python has it and this evaluator does not.
Value FindMethod(const Value& object, absl::string_view name, Heap* heap);

// str.format(); `self` is the pattern.
absl::StatusOr<Value> FormatBraces(Context& context, const Value& self, const Arguments& arguments);

}  // namespace quartet::tokenizer::jinja
