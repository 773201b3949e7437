// Reads JSON texts into values as Python's json.loads does, but strictly (no NaN, no lone
// surrogates).
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

// Key order is kept, a repeated key takes its last value in its first place; whole numbers keep all
// their digits. Returns INVALID_ARGUMENT with the byte offset if `text` is not JSON or is nested
// more than 200 deep.
absl::StatusOr<Value> ReadJson(absl::string_view text, Heap* heap);

}  // namespace quartet::tokenizer::jinja
