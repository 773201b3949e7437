// Server-sent events, as OpenAI frames them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace quartet::gateway::http {

inline constexpr char kSseContentType[] = "text/event-stream; charset=utf-8";
// The end of a stream that succeeded.
inline constexpr char kSseDone[] = "data: [DONE]\n\n";
// Says nothing; keeps the connection from looking dead.
inline constexpr char kSseComment[] = ": keep-alive\n\n";

// `json`, which must be one line, as an event.
std::string SseEvent(absl::string_view json);

}  // namespace quartet::gateway::http
