// The input of a Responses request, item by item, as the messages of a chat request.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace quartet::gateway::http {

// Chat messages, and for each of them the field of the Responses request that it came from.
struct ItemMessages {
  // A list, each in the form of /v1/chat/completions.
  nlohmann::ordered_json* messages;
  std::vector<std::string>* sources;
};

// Appends the messages of `input`: a string or a list of items. Calls that follow each other become
// one message. Returns INVALID_ARGUMENT naming the item.
absl::Status AppendInput(const nlohmann::ordered_json& input, const ItemMessages& to);

// Appends the messages that a response's `output` items amount to.
void AppendOutput(const nlohmann::ordered_json& output, nlohmann::ordered_json* messages);

}  // namespace quartet::gateway::http
