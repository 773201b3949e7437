#include "gateway/http/delta_event_writer.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "common/json_escape.h"
#include "common/status_macros.h"
#include "gateway/http/sse.h"
#include "gateway/utf8.h"

namespace quartet::gateway::http {
namespace {

// Stand-ins that the JSON library leaves as they are, and that no id or model name has.
constexpr uint32_t kIndexMark = 4'294'967'291;
constexpr char kTextMark[] = "\x7f text \x7f";

}  // namespace

DeltaEventWriter::DeltaEventWriter(const ResponseShape& shape) : shape_(shape) {
  if (shape.logprobs || shape.token_ids || shape.obfuscate) return;
  DeltaEvent mark;
  mark.index = kIndexMark;
  mark.text = kTextMark;
  const std::string event = SseEvent(DeltaChunk(shape, mark));
  const std::string index = absl::StrCat("\"index\":", kIndexMark);
  const size_t index_at = event.rfind(index);
  const size_t text_at = event.rfind(kTextMark);
  QUARTET_CHECK(index_at != std::string::npos && text_at != std::string::npos &&
                index_at < text_at);
  const size_t index_begin = index_at + index.size() - absl::StrCat(kIndexMark).size();
  before_index_ = event.substr(0, index_begin);
  before_text_ = event.substr(index_at + index.size(), text_at - index_at - index.size());
  after_text_ = event.substr(text_at + sizeof kTextMark - 1);
}

void DeltaEventWriter::Append(const DeltaEvent& delta, std::string* out,
                              const ChunkExtras& extras) const {
  const bool alike = !before_index_.empty() && extras.usage == nullptr && extras.prompt == nullptr;
  if (!alike || FirstInvalidUtf8(delta.text) != delta.text.size()) {
    absl::StrAppend(out, SseEvent(DeltaChunk(shape_, delta, extras)));
    return;
  }
  absl::StrAppend(out, before_index_, delta.index, before_text_);
  common::AppendJsonEscaped(delta.text, out);
  out->append(after_text_);
}

}  // namespace quartet::gateway::http
