// Jinja's filters and tests, by name.
#pragma once

#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/callable.h"

namespace quartet::tokenizer::jinja {

// Null if there is no such filter (test). `self` of the function is the value it is applied to.
Function FindFilter(absl::string_view name);
TestFunction FindTest(absl::string_view name);

// Whether Jinja has a filter of that name and this evaluator does not.
bool IsUnsupportedFilter(absl::string_view name);

// Filters on texts and single values (null if it is none of them), and on rows of values.
Function FindTextFilter(absl::string_view name);
Function FindSequenceFilter(absl::string_view name);

}  // namespace quartet::tokenizer::jinja
