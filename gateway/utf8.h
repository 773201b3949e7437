// The two things the gateway needs to know of UTF-8.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace quartet::gateway {

// Offset of the first byte that is not part of a well-formed character (Unicode 15, table 3-7);
// text.size() if all are.
size_t FirstInvalidUtf8(absl::string_view text);
// Number of characters (code points). REQUIRES: well-formed UTF-8; other text gives some number.
size_t CountCharacters(absl::string_view text);

}  // namespace quartet::gateway
