// Ids of answers and of what is in them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace quartet::gateway::http {

// `prefix` and 128 random bits in hexadecimal. Thread-safe.
std::string RandomId(absl::string_view prefix);

}  // namespace quartet::gateway::http
