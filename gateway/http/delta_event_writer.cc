#include "gateway/http/delta_event_writer.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/sse.h"
#include "gateway/utf8.h"

namespace quartet::gateway::http {
namespace {

// Stand-ins that the JSON library leaves as they are, and that no id or model name has.
constexpr uint32_t kIndexMark = 4'294'967'291;
constexpr char kTextMark[] = "\x7f text \x7f";

bool NeedsEscape(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

}  // namespace

void AppendJsonEscaped(absl::string_view text, std::string* out) {
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!NeedsEscape(c)) continue;
    out->append(text.data() + begin, i - begin);
    begin = i + 1;
    constexpr char kHex[] = "0123456789abcdef";
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\b':
        out->append("\\b");
        break;
      case '\f':
        out->append("\\f");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        out->append("\\u00");
        out->push_back(kHex[c >> 4]);
        out->push_back(kHex[c & 15]);
    }
  }
  out->append(text.data() + begin, text.size() - begin);
}

DeltaEventWriter::DeltaEventWriter(const ResponseShape& shape) : shape_(shape) {
  if (shape.logprobs) return;
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

void DeltaEventWriter::Append(const DeltaEvent& delta, std::string* out) const {
  if (before_index_.empty() || FirstInvalidUtf8(delta.text) != delta.text.size()) {
    absl::StrAppend(out, SseEvent(DeltaChunk(shape_, delta)));
    return;
  }
  absl::StrAppend(out, before_index_, delta.index, before_text_);
  AppendJsonEscaped(delta.text, out);
  out->append(after_text_);
}

}  // namespace quartet::gateway::http
