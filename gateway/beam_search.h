// Beam search: the n likeliest answers that n beams find, instead of n sampled ones. Each step asks
// the workers for every beam's likeliest next tokens, as a sequence of its own that generates one
// token; the prefix cache keeps what it has in common with the step before.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "gateway/choice.h"
#include "gateway/decode_batcher.h"
#include "gateway/event_loop.h"
#include "gateway/prepared_request.h"
#include "gateway/router.h"

namespace quartet::gateway {

// Takes the place of a request's Choices and speaks to the same owner: news after the first step,
// then at the end one delta and one end for each answer, best first. Used on the gateway's loop
// only. Must be cancelled or done before it is destroyed, unless the loop has stopped.
class BeamSearch : public std::enable_shared_from_this<BeamSearch> {
 public:
  // REQUIRES: request.n <= 10; nothing in the request shapes probabilities.
  BeamSearch(std::shared_ptr<const PreparedRequest> prepared, EventLoop* loop, Router* router,
             DecodeBatcher* decoder, ChoiceOwner* owner);

  void Start() { BeginStep(); }
  // Ends the search without a word to the owner.
  void Cancel();
  // Tokens of the answers that were reported.
  uint32_t num_tokens() const { return num_tokens_; }
  // The group that works on it; empty ids before the first step.
  const Placement& placement() const { return placement_; }

 private:
  class Probe;
  struct Beam {
    TokenIds ids;
    // An entry an id, if the client wants to see them.
    std::vector<PositionLogprobs> logprobs;
    double sum = 0;  // Of the log-probabilities.
    FinishReason reason = FinishReason::kNone;
  };

  // By which answers are ranked, as in vLLM: the id that ends one is not counted.
  double Score(const Beam& beam) const;
  bool Ends(uint32_t id) const;
  size_t num_tokens_in_beams() const;
  Submission MakeSubmission(const Beam& beam, uint32_t index) const;
  void BeginStep();
  // A probe knows its beam's next tokens. When all do, the step is over.
  void OnProbed(uint32_t cached_tokens);
  void EndStep();
  Beam Extend(const Beam& beam, const PositionLogprobs& position, const TokenLogprob& next) const;
  // Whether no beam can become better than the answers that are complete.
  bool Settled() const;
  void Finish();
  void DecodeNext();
  void OnDecoded(absl::StatusOr<DecodeResult> result);
  DeltaEvent MakeDelta(Beam& beam, DecodeResult result) const;

  const std::shared_ptr<const PreparedRequest> prepared_;
  const uint32_t width_;
  EventLoop* const loop_;
  Router* const router_;
  DecodeBatcher* const decoder_;
  ChoiceOwner* const owner_;

  std::vector<Beam> beams_;                     // Best first.
  std::vector<Beam> complete_;                  // Best first.
  std::vector<std::shared_ptr<Probe>> probes_;  // One a beam.
  size_t num_probed_ = 0;
  Placement placement_;
  uint32_t num_tokens_ = 0;
  uint32_t num_reported_ = 0;
  bool done_ = false;
};

}  // namespace quartet::gateway
