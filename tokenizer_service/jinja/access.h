// Getting at what is inside a value: attributes, items, slices, iteration.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

// `object.name`: a method or attribute of the type first, then the key of a dict. Undefined if
// there is neither; INVALID_ARGUMENT if `object` is undefined.
absl::StatusOr<Value> GetAttribute(const Value& object, absl::string_view name, Heap* heap);

// `object[key]`: the item first, then the method or attribute.
absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Heap* heap);

// `object[start:stop:step]`; None for what is not given. INVALID_ARGUMENT if it is no list or text.
absl::StatusOr<Value> GetSlice(const Value& object, const Value& start, const Value& stop,
                               const Value& step, Heap* heap);

// What a `for` over `value` gives; takes everything that is left of a generator. The pointer lives
// as long as the heap.
absl::StatusOr<const std::vector<Value>*> Items(const Value& value, Heap* heap);

// len(value).
absl::StatusOr<int64_t> Length(const Value& value, Heap* heap);

}  // namespace quartet::tokenizer::jinja
