// Unicode normalisation form C as the reference library does it: its tables are older than the
// system's, so characters that it does not know stay as they are.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// The NFC form of `text`: `text` itself if that is already in NFC, else `*buffer`, which it
// overwrites. Linear in the size of the text. REQUIRES: valid UTF-8.
absl::string_view NormalizeNfc(absl::string_view text, std::string* buffer);

}  // namespace quartet::tokenizer
