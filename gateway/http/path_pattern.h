// Paths and queries of requests: patterns with a parameter, "/v1/models/{model}", and what stands
// after the question mark.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace quartet::gateway::http {

// Whether `path` is of the pattern, which has at most one parameter. Parameters at the end may have
// slashes in them: names of models do, as they are or as %2F.
bool PathFits(absl::string_view pattern, absl::string_view path);

// What the parameter is. REQUIRES: the path fits the pattern, which has one.
std::string PathParameter(absl::string_view pattern, absl::string_view path);

// The fields of a query, "limit=2&order=asc": of several with one name the last.
std::map<std::string, std::string> ParseQuery(absl::string_view query);

}  // namespace quartet::gateway::http
