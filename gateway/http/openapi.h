// The description of the HTTP API for programs, OpenAPI 3.1: openapi.json, built in.
#pragma once

#include <string>

namespace quartet::gateway::http {

// The file as it stands in the tree.
const std::string& OpenApiJson();

}  // namespace quartet::gateway::http
