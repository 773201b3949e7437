// Gathers the new ids of all streams into one message to the tokenizer service per step, and sees
// to it that a tokenizer that restarts costs a pause and not a stream.
#pragma once

#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/event_loop.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway {

// Used on the gateway's loop only. Holds at most one item a running answer, so it is bounded by
// admission.
class DecodeBatcher {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<DecodeResult>)>;

  // A message that fails is sent again (decoding is stateless) until `give_up_after` has passed
  // since its first failure.
  DecodeBatcher(EventLoop* loop, Tokenizer* tokenizer, absl::Duration give_up_after);

  // `done` is called later. REQUIRES: the stream's previous item is done.
  void Add(DecodeItem item, Done done);

 private:
  void SendSoon();
  void Send();
  void OnAnswer(absl::StatusOr<std::vector<DecodeResult>> answer);

  EventLoop* const loop_;
  Tokenizer* const tokenizer_;
  const absl::Duration give_up_after_;
  std::vector<DecodeItem> queue_;
  std::vector<Done> queue_done_;  // One an item of queue_.
  std::vector<DecodeItem> outstanding_;
  std::vector<Done> outstanding_done_;
  bool busy_ = false;       // A message or a retry is under way.
  bool scheduled_ = false;  // Send is posted.
  absl::Time first_failure_ = absl::InfiniteFuture();
};

}  // namespace quartet::gateway
