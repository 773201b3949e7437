// The server-sent events of a stream's deltas, at the cost of escaping their text: what is the same
// in all of them is written once.
#pragma once

#include <string>

#include "gateway/generation_types.h"
#include "gateway/http/openai_response.h"

namespace quartet::gateway::http {

class DeltaEventWriter {
 public:
  explicit DeltaEventWriter(const ResponseShape& shape);

  // Adds SseEvent(DeltaChunk(shape, delta, extras)).
  void Append(const DeltaEvent& delta, std::string* out, const ChunkExtras& extras = {}) const;

 private:
  const ResponseShape shape_;
  // Around the index and the text; empty if events also differ in more.
  std::string before_index_;
  std::string before_text_;
  std::string after_text_;
};

}  // namespace quartet::gateway::http
