// Reads the response to a streamed completion as its bytes come: HTTP head, chunks, server-sent
// events. Looks for no more than a load test wants to know, so that reading costs next to nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace quartet::cli {

class SseReader {
 public:
  // Takes in the next bytes. Returns INTERNAL if they are no such response, and what the server
  // says if it answers with an error or sends one as an event.
  absl::Status Add(absl::string_view bytes);

  // The response is complete: the next one may follow on the same connection.
  bool is_complete() const { return state_ == State::kEnd; }
  // The stream said [DONE], as every one that ends well does.
  bool is_done() const { return is_done_; }

  // Events with text so far: one for each token or so.
  int64_t num_text_events() const { return num_text_events_; }
  // From the usage at the end; -1 before it.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t completion_tokens() const { return completion_tokens_; }
  int64_t cached_tokens() const { return cached_tokens_; }

 private:
  enum class State { kHead, kSize, kData, kPlainBody, kEnd };

  absl::Status ReadHead();
  // Of the next chunk, from raw_, if it is all there.
  absl::Status ReadSize();
  absl::Status AddBody(absl::string_view bytes);
  absl::Status HandleEvent(absl::string_view event);
  absl::Status RefusalFrom(absl::string_view body) const;

  State state_ = State::kHead;
  int http_status_ = 0;
  std::string raw_;       // bytes before the body that are not understood yet
  std::string event_;     // the start of an event
  size_t remaining_ = 0;  // bytes of the current chunk, or of a body without chunks
  bool is_done_ = false;
  int64_t num_text_events_ = 0;
  int64_t prompt_tokens_ = -1;
  int64_t completion_tokens_ = -1;
  int64_t cached_tokens_ = -1;
};

}  // namespace quartet::cli
