// The shape that an answer must have, in the three ways to say it: OpenAI's response_format, vLLM's
// structured_outputs, and the guided_* fields of older vLLM.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gateway/generation_types.h"

namespace quartet::gateway::http {

// `text` is the text that `body` was parsed from: schemas keep the client's order of keys, in which
// the properties will be written. Leaves `output` unset for free text. Returns INVALID_ARGUMENT
// naming the field, also if two of them ask for a shape.
absl::Status ReadStructuredOutput(const nlohmann::json& body, absl::string_view text,
                                  std::optional<StructuredOutput>* output);

}  // namespace quartet::gateway::http
