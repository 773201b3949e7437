// One answer of a generation: its sequence on a worker group, the ids received so far, and the way
// from ids to text. Survives the loss of its group by submitting again what it has.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gateway/decode_batcher.h"
#include "gateway/event_loop.h"
#include "gateway/generation_types.h"
#include "gateway/prepared_request.h"
#include "gateway/router.h"
#include "gateway/stop_string_matcher.h"

namespace quartet::gateway {

// Hears what happens to an answer. Called on the gateway's loop.
class ChoiceOwner {
 public:
  virtual ~ChoiceOwner() = default;
  // News came from the worker; `num_tokens` new ids. `cached_tokens` counts only before the first
  // token: what a resume finds in a cache is not the client's affair. Called before anything that
  // follows from it.
  virtual void OnChoiceNews(uint32_t index, size_t num_tokens, uint32_t cached_tokens) = 0;
  virtual void OnChoiceDelta(DeltaEvent delta) = 0;
  // The answer is complete with `num_tokens` tokens.
  virtual void OnChoiceFinished(FinishedEvent finished, uint32_t num_tokens) = 0;
  virtual void OnChoiceFailed(const absl::Status& status) = 0;
  // The answer's group is gone; it waits for another, or waits no more.
  virtual void OnChoiceWaiting(uint32_t index, bool waiting, const absl::Status& why) = 0;
  // The answer was submitted again after its group was lost.
  virtual void OnChoiceResumed(uint32_t index) = 0;
  // The first new token after a loss is there, `since_resume` after the group that gave it got the
  // sequence. `num_recomputed` tokens had to be computed again.
  virtual void OnChoiceRecovered(uint32_t index, absl::Duration since_loss,
                                 absl::Duration since_resume, size_t num_recomputed) = 0;
};

// Used on the gateway's loop only. Must be cancelled or done before it is destroyed, unless the
// loop has stopped.
class Choice : public SequenceListener, public std::enable_shared_from_this<Choice> {
 public:
  Choice(std::shared_ptr<const PreparedRequest> prepared, uint32_t index, EventLoop* loop,
         Router* router, DecodeBatcher* decoder, ChoiceOwner* owner);

  // Hands the sequence to a group, now or when one attaches. REQUIRES: not running.
  void SubmitOrWait();
  // Ends the answer without a word to the owner.
  void Cancel();
  bool done() const { return done_; }
  uint32_t index() const { return index_; }
  // Tokens that have been passed on or counted.
  uint32_t num_tokens() const { return num_tokens_; }
  // What group the answer comes from; empty ids while none has it.
  const Placement& placement() const { return placement_; }

  void OnSequenceNews(SequenceNews news) override;
  void OnSequenceLost(const absl::Status& why) override;
  void OnSequenceRefused(const absl::Status& why, const std::string& address) override;
  void OnGroupAvailable() override;

 private:
  // Ids that wait for, or are in, the tokenizer service.
  struct Batch {
    TokenIds ids;
    std::vector<PositionLogprobs> logprobs;  // Empty, or one entry an id.
    std::vector<PositionLogprobs> prompt_logprobs;
    bool last = false;  // The worker has ended the sequence.
  };
  // A token whose text may not be out yet. Offsets are bytes of the answer's text, echo not
  // included.
  struct HeldToken {
    OutputToken token;
    size_t begin;
    size_t end;
  };

  Submission MakeSubmission() const;
  // Returns UNAVAILABLE if no group can take the sequence.
  absl::Status Submit();
  void Wait(const absl::Status& why);
  void WaitNoMore();
  void NoteRecovery(const SequenceNews& news);
  void DecodeMore();
  void OnDecoded(absl::StatusOr<DecodeResult> result);
  void HoldTokens(Batch batch, const DecodeResult& result);
  void CutAtMatch(const StopMatch& match);
  // Takes over what the worker generated, up to where it goes round in circles.
  void Receive(SequenceNews news);
  void EmitDelta(std::string text, bool all, std::vector<PositionLogprobs> prompt_logprobs);
  std::vector<PromptToken> PromptTokens(std::vector<PositionLogprobs> logprobs) const;
  void Finish(FinishedEvent finished);

  const std::shared_ptr<const PreparedRequest> prepared_;
  const uint32_t index_;
  EventLoop* const loop_;
  Router* const router_;
  DecodeBatcher* const decoder_;
  ChoiceOwner* const owner_;

  // The sequence.
  uint64_t sequence_id_ = 0;  // 0 while no group works on it.
  uint32_t attempt_ = 0;
  Placement placement_;
  std::vector<std::string> refused_by_;  // Addresses, since the last token.
  bool waiting_ = false;                 // The owner was told so.
  bool was_refused_ = false;  // By all groups, when it was to be resumed; until there is news.
  uint64_t retry_timer_ = 0;
  absl::Time lost_at_ = absl::InfiniteFuture();  // Until the first new token.
  absl::Time resumed_at_;                        // When a group last got the sequence again.
  TokenIds received_ids_;
  bool prompt_logprobs_received_ = false;
  FinishedEvent worker_finish_;  // reason is kNone until the worker ended it.

  // The text.
  Batch backlog_;
  Batch decoding_;
  bool decode_busy_ = false;
  std::string pending_;  // The tokenizer's held-back bytes.
  StopStringMatcher matcher_;
  std::deque<HeldToken> held_;
  size_t decoded_bytes_ = 0;
  size_t decoded_characters_ = 0;  // Echo included.
  uint32_t num_tokens_ = 0;
  bool any_delta_ = false;
  bool done_ = false;
};

}  // namespace quartet::gateway
