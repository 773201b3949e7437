// Whose request it is: what a client says, else a digest of the key it came with.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace quartet::gateway {

// `said`, or if that is empty a digest of the authorization ("Bearer KEY", or any other form),
// which tells keys apart and doesn't give them away in logs; empty if there is neither.
std::string TenantOf(absl::string_view said, absl::string_view authorization);

}  // namespace quartet::gateway
