// Values as text: Python's str() and repr(), and json.dumps().
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

// str(value); the empty text if it is undefined. INVALID_ARGUMENT for what has no text that a
// prompt could want (functions, generators, namespaces).
absl::StatusOr<absl::string_view> ToText(const Value& value, Heap* heap);

// Appends repr(value).
absl::Status AppendRepr(const Value& value, Heap* heap, std::string* out);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; one line without
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value).
absl::StatusOr<std::string> WriteJson(const Value& value, const JsonStyle& style, Heap* heap);

// A double as Python's repr prints it: 1.0, 1e-05, inf.
std::string FloatText(double value);

}  // namespace quartet::tokenizer::jinja
