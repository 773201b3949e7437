#include "cli/sse_reader.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

constexpr size_t kMaxHeadBytes = 64 << 10;
constexpr absl::string_view kCrlf = "\r\n";

// The number behind `"name":`, -1 if there is none.
int64_t NumberOf(absl::string_view json, absl::string_view name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = json.find(key);
  if (at == absl::string_view::npos) return -1;
  json.remove_prefix(at + key.size());
  json = absl::StripLeadingAsciiWhitespace(json);
  int64_t number = -1;
  std::from_chars(json.data(), json.data() + json.size(), number);
  return number;
}

}  // namespace

absl::Status SseReader::Add(absl::string_view bytes) {
  if (state_ == State::kHead) {
    raw_.append(bytes.data(), bytes.size());
    if (!absl::StrContains(raw_, "\r\n\r\n")) {
      if (raw_.size() < kMaxHeadBytes) return absl::OkStatus();
      return absl::InternalError("the answer has no end of its HTTP head");
    }
    RETURN_IF_ERROR(ReadHead());
    const std::string body = std::exchange(raw_, std::string());
    return body.empty() && state_ != State::kEnd ? absl::OkStatus() : Add(body);
  }
  while (!bytes.empty() && state_ != State::kEnd) {
    if (state_ == State::kSize) {
      // A size is short; it is put together where it was split.
      const size_t end = bytes.find('\n');
      const size_t taken = end == absl::string_view::npos ? bytes.size() : end + 1;
      raw_.append(bytes.data(), taken);
      bytes.remove_prefix(taken);
      RETURN_IF_ERROR(ReadSize());
      continue;
    }
    const size_t size = std::min(remaining_, bytes.size());
    RETURN_IF_ERROR(AddBody(bytes.substr(0, size)));
    bytes.remove_prefix(size);
    remaining_ -= size;
    if (remaining_ > 0) continue;
    if (state_ == State::kPlainBody) {
      state_ = State::kEnd;
      if (http_status_ != 200) return RefusalFrom(event_);
    } else {
      state_ = State::kSize;
    }
  }
  return absl::OkStatus();
}

absl::Status SseReader::ReadHead() {
  const size_t end = raw_.find("\r\n\r\n");
  const std::string head = absl::AsciiStrToLower(raw_.substr(0, end + 2));
  raw_.erase(0, end + 4);
  if (!absl::StartsWith(head, "http/1.1 ") || !absl::SimpleAtoi(head.substr(9, 3), &http_status_)) {
    return absl::InternalError(absl::StrCat("not an HTTP response: '", head.substr(0, 40), "'"));
  }
  if (absl::StrContains(head, "transfer-encoding: chunked")) {
    state_ = State::kSize;
    return absl::OkStatus();
  }
  const size_t at = head.find("content-length: ");
  if (at == std::string::npos) return absl::InternalError("the answer has no length");
  const absl::string_view length = absl::string_view(head).substr(at + 16);
  if (!absl::SimpleAtoi(length.substr(0, length.find('\r')), &remaining_)) {
    return absl::InternalError("the answer's Content-Length is no number");
  }
  state_ = remaining_ > 0 ? State::kPlainBody : State::kEnd;
  return absl::OkStatus();
}

absl::Status SseReader::ReadSize() {
  // The line end of the chunk before comes first.
  if (raw_ == kCrlf) {
    raw_.clear();
    return absl::OkStatus();
  }
  if (!absl::EndsWith(raw_, kCrlf)) return absl::OkStatus();
  const auto [parsed, error] =
      std::from_chars(raw_.data(), raw_.data() + raw_.size(), remaining_, 16);
  if (error != std::errc() || *parsed != '\r') {
    return absl::InternalError(absl::StrCat("'", raw_, "' is no size of a chunk"));
  }
  raw_.clear();
  state_ = remaining_ > 0 ? State::kData : State::kEnd;
  if (state_ == State::kEnd && http_status_ != 200) return RefusalFrom(event_);
  return absl::OkStatus();
}

absl::Status SseReader::AddBody(absl::string_view bytes) {
  if (http_status_ != 200 || state_ == State::kPlainBody) {
    event_.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  while (!bytes.empty()) {
    const size_t end = bytes.find("\n\n");
    // Its second line end may come with the next bytes.
    if (!event_.empty() || end == absl::string_view::npos) {
      const size_t before = event_.size();
      event_.append(bytes.data(), bytes.size());
      const size_t whole = event_.find("\n\n", before > 0 ? before - 1 : 0);
      if (whole == std::string::npos) return absl::OkStatus();
      bytes.remove_prefix(whole + 2 - before);
      event_.resize(whole);
      RETURN_IF_ERROR(HandleEvent(event_));
      event_.clear();
      continue;
    }
    RETURN_IF_ERROR(HandleEvent(bytes.substr(0, end)));
    bytes.remove_prefix(end + 2);
  }
  return absl::OkStatus();
}

absl::Status SseReader::HandleEvent(absl::string_view event) {
  if (!absl::ConsumePrefix(&event, "data: ")) return absl::OkStatus();  // a comment
  if (event == "[DONE]") {
    is_done_ = true;
  } else if (absl::StartsWith(event, "{\"error\"")) {
    return RefusalFrom(event);
  } else if (absl::StrContains(event, "\"usage\":{")) {
    prompt_tokens_ = NumberOf(event, "prompt_tokens");
    completion_tokens_ = NumberOf(event, "completion_tokens");
    cached_tokens_ = NumberOf(event, "cached_tokens");
  } else if (!absl::StrContains(event, "\"finish_reason\":\"")) {
    ++num_text_events_;
  }
  return absl::OkStatus();
}

absl::Status SseReader::RefusalFrom(absl::string_view body) const {
  return absl::UnavailableError(
      absl::StrCat("the server answers with HTTP ", http_status_, ": ", body.substr(0, 300)));
}

}  // namespace quartet::cli
