// One short name for all that decides which tokens an answer has, for OpenAI's system_fingerprint.
#pragma once

#include <set>
#include <string>

namespace quartet::gateway {

// "fp_" and ten hex digits of the ids of weights and arithmetic in `sources`; empty if there are
// none. The same in every process.
std::string Fingerprint(const std::set<std::string>& sources);

}  // namespace quartet::gateway
