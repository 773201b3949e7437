#include "gateway/http/sse.h"

#include "absl/strings/str_cat.h"

namespace quartet::gateway::http {

std::string SseEvent(absl::string_view json) { return absl::StrCat("data: ", json, "\n\n"); }

}  // namespace quartet::gateway::http
