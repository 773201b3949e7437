// What the variable `loop` offers inside a `for`.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

// `loop.name`: index, index0, revindex, revindex0, first, last, length, previtem, nextitem, depth,
// depth0, cycle() and changed(). Undefined for other names. REQUIRES: loop.is(Kind::kLoop).
absl::StatusOr<Value> LoopAttribute(const Value& loop, absl::string_view name, Heap* heap);

}  // namespace quartet::tokenizer::jinja
