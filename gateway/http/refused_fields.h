// Fields that are known and can't be honoured here.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"

namespace quartet::gateway::http {

// Returns INVALID_ARGUMENT for the first of them that asks for something, with the reason and what
// to do instead; a value that asks for nothing (null, an empty list or object, the default) passes.
absl::Status RefuseFields(const nlohmann::json& body);

}  // namespace quartet::gateway::http
