// The functions that every template can call by name.
#pragma once

#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"

namespace quartet::tokenizer::jinja {

// range, dict, namespace, raise_exception and strftime_now; undefined (kUnsupported) for those that
// Jinja has beside them; None if there is no such function.
Value FindGlobal(absl::string_view name, Heap* heap);

}  // namespace quartet::tokenizer::jinja
