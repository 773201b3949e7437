#include "gateway/http/random_id.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace quartet::gateway::http {

std::string RandomId(absl::string_view prefix) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return absl::StrCat(prefix, absl::StrFormat("%016x%016x", generator(), generator()));
}

}  // namespace quartet::gateway::http
