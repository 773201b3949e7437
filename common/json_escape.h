// The inside of a JSON string, written as both the gateway's JSON library and Python's write it.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace quartet::common {

// Appends `text` as a JSON string's inside, without the quotes: the two-letter escapes where there
// are any, \u00xx for other control characters, everything else as it is. REQUIRES: valid UTF-8.
void AppendJsonEscaped(absl::string_view text, std::string* out);

}  // namespace quartet::common
