#include "gateway/choice.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "gateway/repetition.h"
#include "gateway/utf8.h"

namespace quartet::gateway {
namespace {

// How long a resumed sequence that every group has refused waits before it asks again.
constexpr absl::Duration kRefusedRetryDelay = absl::Milliseconds(250);

// Calls `visit` for every token of `positions` that a client will see spelled out, in a fixed
// order.
template <class Visitor>
void ForEachToken(std::vector<PositionLogprobs>& positions, Visitor&& visit) {
  for (PositionLogprobs& position : positions) {
    visit(position.token);
    for (TokenLogprob& top : position.top) visit(top);
  }
}

}  // namespace

Choice::Choice(std::shared_ptr<const PreparedRequest> prepared, uint32_t index, EventLoop* loop,
               Router* router, DecodeBatcher* decoder, ChoiceOwner* owner)
    : prepared_(std::move(prepared)),
      index_(index),
      loop_(loop),
      router_(router),
      decoder_(decoder),
      owner_(owner),
      matcher_(prepared_->request.stop),
      decoded_characters_(CountCharacters(prepared_->echo_text)) {}

void Choice::Cancel() {
  done_ = true;
  router_->StopWaiting(this);
  loop_->CancelTimer(std::exchange(retry_timer_, 0));
  if (sequence_id_ != 0) router_->Cancel(std::exchange(sequence_id_, 0));
}

Submission Choice::MakeSubmission() const {
  const GenerationRequest& request = prepared_->request;
  Submission submission;
  submission.request_id = request.request_id;
  submission.choice_index = index_;
  submission.attempt = attempt_;
  submission.prompt_ids = prepared_->prompt_ids;
  submission.output_ids = received_ids_;
  submission.sampling = request.sampling;
  if (prompt_logprobs_received_) submission.sampling.prompt_logprobs.reset();
  submission.priority = request.priority;
  submission.cache_salt = request.cache_salt;
  submission.tenant = request.tenant;
  submission.eos_token_ids = prepared_->eos_token_ids;
  submission.structured_output = request.structured_output;
  if (prepared_->deadline != absl::InfiniteFuture()) {
    const int64_t left_ms = absl::ToInt64Milliseconds(prepared_->deadline - loop_->Now());
    submission.timeout_ms = static_cast<uint64_t>(std::max<int64_t>(left_ms, 1));
  }
  return submission;
}

absl::Status Choice::Submit() {
  // Until a token has come nothing binds the answer to one kind of numerics.
  Placement placement = received_ids_.empty() ? Placement{} : placement_;
  placement.refused_by = refused_by_;
  absl::StatusOr<Router::Route> route = router_->Submit(MakeSubmission(), placement, this);
  if (!route.ok()) return route.status();
  sequence_id_ = route->sequence_id;
  placement_ = std::move(route->placement);
  if (attempt_ == 0) return absl::OkStatus();
  resumed_at_ = loop_->Now();
  common::LogInfo("sequence resumed", {{"request_id", prepared_->request.request_id},
                                       {"choice", index_},
                                       {"attempt", attempt_},
                                       {"output_tokens", received_ids_.size()}});
  owner_->OnChoiceResumed(index_);
  return absl::OkStatus();
}

void Choice::SubmitOrWait() {
  const absl::Status submitted = Submit();
  if (!submitted.ok()) Wait(submitted);
}

void Choice::Wait(const absl::Status& why) {
  router_->AwaitGroup(this);
  if (!std::exchange(waiting_, true)) owner_->OnChoiceWaiting(index_, true, why);
}

void Choice::WaitNoMore() {
  if (std::exchange(waiting_, false)) owner_->OnChoiceWaiting(index_, false, absl::OkStatus());
}

void Choice::OnSequenceLost(const absl::Status& why) {
  sequence_id_ = 0;
  if (done_ || worker_finish_.reason != FinishReason::kNone) return;
  ++attempt_;
  lost_at_ = std::min(lost_at_, loop_->Now());
  refused_by_.clear();
  SubmitOrWait();
}

void Choice::OnSequenceRefused(const absl::Status& why, const std::string& address) {
  sequence_id_ = 0;
  if (done_) return;
  refused_by_.push_back(address);
  if (Submit().ok()) return;
  refused_by_.clear();
  if (absl::IsResourceExhausted(why)) {
    // Who has had nothing yet can come back later; a stream that has begun is not given up because
    // the queues are full, but tries again until the resume timeout.
    if (attempt_ == 0) return owner_->OnChoiceFailed(why);
    was_refused_ = true;
    retry_timer_ = loop_->PostAfter(kRefusedRetryDelay, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->retry_timer_ = 0;
      self->OnGroupAvailable();
    });
  }
  Wait(why);
}

void Choice::OnGroupAvailable() {
  if (done_ || sequence_id_ != 0) return;
  if (!Submit().ok()) {
    router_->AwaitGroup(this);  // Not a group that can go on with these ids.
    return;
  }
  router_->StopWaiting(this);
  loop_->CancelTimer(std::exchange(retry_timer_, 0));
  // It may be refused again, and must not have all the time of the world for that.
  if (!was_refused_) WaitNoMore();
}

void Choice::NoteRecovery(const SequenceNews& news) {
  WaitNoMore();
  was_refused_ = false;
  refused_by_.clear();
  if (news.token_ids.empty() || lost_at_ == absl::InfiniteFuture()) return;
  const size_t sent = prepared_->prompt_ids->size() + received_ids_.size();
  owner_->OnChoiceRecovered(index_, loop_->Now() - lost_at_, loop_->Now() - resumed_at_,
                            sent - std::min<size_t>(sent, news.cached_tokens));
  lost_at_ = absl::InfiniteFuture();
}

void Choice::OnSequenceNews(SequenceNews news) {
  if (done_) return;
  if (!news.error.ok()) {
    sequence_id_ = 0;
    owner_->OnChoiceFailed(news.error);
    return;
  }
  NoteRecovery(news);
  owner_->OnChoiceNews(index_, news.token_ids.size(),
                       received_ids_.empty() ? news.cached_tokens : 0);
  if (news.finish_reason != FinishReason::kNone) {
    sequence_id_ = 0;
    worker_finish_ = {index_, news.finish_reason, std::nullopt, news.stop_token_id};
    backlog_.last = true;
  }
  Receive(std::move(news));
  if (!decode_busy_) DecodeMore();
}

void Choice::Receive(SequenceNews news) {
  const size_t num_before = received_ids_.size();
  received_ids_.insert(received_ids_.end(), news.token_ids.begin(), news.token_ids.end());
  const auto& detection = prepared_->request.repetition_detection;
  const size_t end =
      detection.has_value() ? FirstRepetition(received_ids_, num_before, *detection) : 0;
  if (end != 0) {
    received_ids_.resize(end);
    news.token_ids.resize(end - num_before);
    if (news.logprobs.size() > news.token_ids.size()) news.logprobs.resize(news.token_ids.size());
    if (sequence_id_ != 0) router_->Cancel(std::exchange(sequence_id_, 0));
    worker_finish_ = {index_, FinishReason::kStop, std::nullopt, std::nullopt, true};
    backlog_.last = true;
  }
  backlog_.ids.insert(backlog_.ids.end(), news.token_ids.begin(), news.token_ids.end());
  for (PositionLogprobs& position : news.logprobs) backlog_.logprobs.push_back(std::move(position));
  if (!news.prompt_logprobs.empty()) {
    prompt_logprobs_received_ = true;
    backlog_.prompt_logprobs = std::move(news.prompt_logprobs);
  }
}

void Choice::DecodeMore() {
  if (backlog_.ids.empty() && !backlog_.last) return;
  decoding_ = std::exchange(backlog_, Batch());
  DecodeItem item;
  item.ids = decoding_.ids;
  // The id that ended the answer is no part of its text, unless the client wants it.
  if (decoding_.last && worker_finish_.stop_token_id.has_value() && !item.ids.empty() &&
      !prepared_->request.include_stop_in_output) {
    item.ids.pop_back();
  }
  item.pending = std::exchange(pending_, std::string());
  item.skip_special_tokens = prepared_->request.skip_special_tokens;
  item.finish = decoding_.last;
  if (prepared_->request.wants_pieces) {
    const auto want = [&item](TokenLogprob& token) { item.piece_ids.push_back(token.token_id); };
    ForEachToken(decoding_.prompt_logprobs, want);
    ForEachToken(decoding_.logprobs, want);
  }
  decode_busy_ = true;
  decoder_->Add(std::move(item), [weak = weak_from_this()](absl::StatusOr<DecodeResult> result) {
    if (const auto self = weak.lock()) self->OnDecoded(std::move(result));
  });
}

void Choice::OnDecoded(absl::StatusOr<DecodeResult> result) {
  decode_busy_ = false;
  if (done_) return;
  if (!result.ok()) return owner_->OnChoiceFailed(result.status());
  Batch batch = std::exchange(decoding_, Batch());
  if (prepared_->request.wants_pieces) {
    size_t next = 0;
    const auto spell = [&](TokenLogprob& token) {
      if (next < result->pieces.size()) token.piece = std::move(result->pieces[next++]);
    };
    ForEachToken(batch.prompt_logprobs, spell);
    ForEachToken(batch.logprobs, spell);
  }
  pending_ = std::move(result->pending);
  const bool last = batch.last;
  std::vector<PositionLogprobs> prompt_logprobs = std::move(batch.prompt_logprobs);
  HoldTokens(std::move(batch), *result);
  std::string text = matcher_.Push(result->text);
  if (matcher_.match().has_value()) {
    const StopMatch match = *matcher_.match();
    CutAtMatch(match);
    if (prepared_->request.include_stop_in_output) text += matcher_.stop(match.stop_index);
    EmitDelta(std::move(text), /*all=*/true, std::move(prompt_logprobs));
    return Finish({index_, FinishReason::kStop, matcher_.stop(match.stop_index), std::nullopt});
  }
  if (last) text += matcher_.Flush();
  EmitDelta(std::move(text), last, std::move(prompt_logprobs));
  if (last) return Finish(worker_finish_);
  DecodeMore();
}

// Turns a decoded batch into held tokens that know where in the text they stand.
void Choice::HoldTokens(Batch batch, const DecodeResult& result) {
  size_t begin = 0;  // In result.text.
  size_t characters = decoded_characters_;
  for (size_t i = 0; i < batch.ids.size(); ++i) {
    // The ending id was not sent to the tokenizer and has no entry.
    const bool hidden = i >= result.text_end.size();
    size_t end = hidden ? result.text.size() : result.text_end[i];
    end = std::clamp(end, begin, result.text.size());
    OutputToken token;
    token.id = batch.ids[i];
    token.text_offset = characters;
    token.hidden = hidden;
    if (i < batch.logprobs.size()) token.logprobs = std::move(batch.logprobs[i]);
    held_.push_back({std::move(token), decoded_bytes_ + begin, decoded_bytes_ + end});
    characters += CountCharacters(absl::string_view(result.text).substr(begin, end - begin));
    begin = end;
  }
  num_tokens_ += static_cast<uint32_t>(batch.ids.size());
  decoded_bytes_ += result.text.size();
  decoded_characters_ += CountCharacters(result.text);
}

// Tokens after the one that completed the stop string were surplus: not shown and not counted.
void Choice::CutAtMatch(const StopMatch& match) {
  size_t keep = 0;
  while (keep < held_.size() && held_[keep].end < match.end) ++keep;
  keep = std::min(keep + 1, held_.size());
  num_tokens_ -= static_cast<uint32_t>(held_.size() - keep);
  held_.resize(keep);
  if (prepared_->request.include_stop_in_output) return;
  for (HeldToken& held : held_) held.token.hidden |= held.begin >= match.begin;
}

void Choice::EmitDelta(std::string text, bool all, std::vector<PositionLogprobs> prompt_logprobs) {
  DeltaEvent delta;
  delta.index = index_;
  while (!held_.empty() && (all || held_.front().end <= matcher_.released_bytes())) {
    delta.tokens.push_back(std::move(held_.front().token));
    held_.pop_front();
  }
  if (prepared_->request.prompt_only) {
    text.clear();
    delta.tokens.clear();
    num_tokens_ = 0;
  }
  if (!prompt_logprobs.empty() || !any_delta_) {
    delta.prompt_tokens = PromptTokens(std::move(prompt_logprobs));
  }
  if (!any_delta_) text.insert(0, prepared_->echo_text);
  delta.text = std::move(text);
  if (delta.text.empty() && delta.tokens.empty() && delta.prompt_tokens.empty()) return;
  any_delta_ = true;
  owner_->OnChoiceDelta(std::move(delta));
}

std::vector<PromptToken> Choice::PromptTokens(std::vector<PositionLogprobs> logprobs) const {
  if (!prepared_->request.sampling.prompt_logprobs.has_value()) return {};
  std::vector<PromptToken> tokens = prepared_->prompt_tokens;
  if (tokens.empty()) {
    for (uint32_t id : *prepared_->prompt_ids) tokens.push_back({id, "", 0, std::nullopt});
  }
  for (size_t i = 0; i < logprobs.size() && i + 1 < tokens.size(); ++i) {
    tokens[i + 1].logprobs = std::move(logprobs[i]);
  }
  return tokens;
}

void Choice::Finish(FinishedEvent finished) {
  if (prepared_->request.prompt_only) {
    finished = {index_, FinishReason::kLength, std::nullopt, std::nullopt};
  }
  const uint32_t num_tokens = num_tokens_;
  Cancel();
  owner_->OnChoiceFinished(std::move(finished), num_tokens);
}

}  // namespace quartet::gateway
