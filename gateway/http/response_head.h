// The bytes of a response's head and of a chunk.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "gateway/http/exchange.h"

namespace quartet::gateway::http {

enum class Framing {
  kLength,      // Content-Length of the response's body.
  kChunked,     // Transfer-Encoding: chunked.
  kUntilClose,  // The end of the connection ends the body: for HTTP/1.0 clients.
};

// Status line and headers, up to and including the empty line.
std::string ResponseHead(const HttpResponse& response, Framing framing, bool keep_alive);
// Adds `bytes` as one chunk; REQUIRES: not empty.
void AppendChunk(absl::string_view bytes, std::string* out);
// What ends a chunked body.
inline constexpr char kLastChunk[] = "0\r\n\r\n";

}  // namespace quartet::gateway::http
