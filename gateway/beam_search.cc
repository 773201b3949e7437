#include "gateway/beam_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/request_error.h"
#include "gateway/utf8.h"

namespace quartet::gateway {
namespace {

// How long a probe that every group has refused waits before it asks again.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(250);

}  // namespace

// One beam's sequence of one token.
class BeamSearch::Probe : public SequenceListener, public std::enable_shared_from_this<Probe> {
 public:
  Probe(BeamSearch* search, uint32_t index) : search_(search), index_(index) {}

  const PositionLogprobs& position() const { return position_; }

  void Submit() {
    Placement placement = search_->placement_;
    placement.refused_by = refused_by_;
    const Beam& beam = search_->beams_[index_];
    absl::StatusOr<Router::Route> route =
        search_->router_->Submit(search_->MakeSubmission(beam, index_), placement, this);
    if (!route.ok()) return Wait(route.status());
    sequence_id_ = route->sequence_id;
    if (search_->placement_.numerics_id.empty()) search_->placement_ = route->placement;
    WaitNoMore();
  }

  void Cancel() {
    Router* const router = search_->router_;
    router->StopWaiting(this);
    search_->loop_->CancelTimer(std::exchange(retry_timer_, 0));
    if (sequence_id_ != 0) router->Cancel(std::exchange(sequence_id_, 0));
  }

  void OnSequenceNews(SequenceNews news) override {
    if (!news.error.ok()) {
      sequence_id_ = 0;
      return search_->owner_->OnChoiceFailed(news.error);
    }
    if (news.finish_reason != FinishReason::kNone) sequence_id_ = 0;
    if (!news.logprobs.empty()) position_ = std::move(news.logprobs.front());
    if (news.finish_reason != FinishReason::kNone) search_->OnProbed(news.cached_tokens);
  }

  void OnSequenceLost(const absl::Status& why) override {
    sequence_id_ = 0;
    if (search_->done_) return;
    refused_by_.clear();
    Submit();
  }

  void OnSequenceRefused(const absl::Status& why, const std::string& address) override {
    sequence_id_ = 0;
    if (search_->done_) return;
    refused_by_.push_back(address);
    Submit();
    if (sequence_id_ != 0 || search_->done_) return;
    // No group is left that has not refused it.
    refused_by_.clear();
    if (absl::IsResourceExhausted(why) && search_->num_tokens_in_beams() == 0) {
      return search_->owner_->OnChoiceFailed(why);
    }
    retry_timer_ = search_->loop_->PostAfter(kRetryDelay, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->retry_timer_ = 0;
      self->OnGroupAvailable();
    });
  }

  void OnGroupAvailable() override {
    if (search_->done_ || sequence_id_ != 0) return;
    search_->router_->StopWaiting(this);
    Submit();
  }

 private:
  void Wait(const absl::Status& why) {
    search_->router_->AwaitGroup(this);
    if (!std::exchange(waiting_, true)) search_->owner_->OnChoiceWaiting(index_, true, why);
  }
  void WaitNoMore() {
    if (std::exchange(waiting_, false)) {
      search_->owner_->OnChoiceWaiting(index_, false, absl::OkStatus());
    }
  }

  BeamSearch* const search_;  // Cancels this before it goes.
  const uint32_t index_;
  PositionLogprobs position_;
  uint64_t sequence_id_ = 0;  // 0 while no group works on it.
  std::vector<std::string> refused_by_;
  uint64_t retry_timer_ = 0;
  bool waiting_ = false;  // The owner was told so.
};

BeamSearch::BeamSearch(std::shared_ptr<const PreparedRequest> prepared, EventLoop* loop,
                       Router* router, DecodeBatcher* decoder, ChoiceOwner* owner)
    : prepared_(std::move(prepared)),
      width_(prepared_->request.n),
      loop_(loop),
      router_(router),
      decoder_(decoder),
      owner_(owner),
      beams_(1) {}

void BeamSearch::Cancel() {
  done_ = true;
  for (const auto& probe : probes_) probe->Cancel();
}

size_t BeamSearch::num_tokens_in_beams() const { return beams_.empty() ? 0 : beams_[0].ids.size(); }

double BeamSearch::Score(const Beam& beam) const {
  const bool ended = beam.reason == FinishReason::kStop;
  const double length = static_cast<double>(std::max<size_t>(beam.ids.size() - (ended ? 1 : 0), 1));
  return beam.sum / std::pow(length, prepared_->request.length_penalty);
}

bool BeamSearch::Ends(uint32_t id) const {
  const auto has = [id](const std::vector<uint32_t>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  const SamplingParams& sampling = prepared_->request.sampling;
  return has(sampling.stop_token_ids) ||
         (!sampling.ignore_eos.value_or(false) && has(prepared_->eos_token_ids));
}

Submission BeamSearch::MakeSubmission(const Beam& beam, uint32_t index) const {
  const GenerationRequest& request = prepared_->request;
  Submission submission;
  submission.request_id = request.request_id;
  submission.choice_index = index;
  submission.prompt_ids = prepared_->prompt_ids;
  submission.output_ids = beam.ids;
  submission.sampling.temperature = 0.0f;
  submission.sampling.repetition_penalty = 1.0f;
  submission.sampling.seed = request.sampling.seed;
  submission.sampling.max_tokens = static_cast<uint32_t>(beam.ids.size() + 1);
  submission.sampling.ignore_eos = true;
  // Twice as many as there are beams: even if half of them end an answer, all beams go on.
  submission.sampling.logprobs = std::max(2 * width_, request.sampling.logprobs.value_or(0));
  submission.priority = request.priority;
  submission.cache_salt = request.cache_salt;
  submission.tenant = request.tenant;
  if (prepared_->deadline != absl::InfiniteFuture()) {
    const int64_t left_ms = absl::ToInt64Milliseconds(prepared_->deadline - loop_->Now());
    submission.timeout_ms = static_cast<uint64_t>(std::max<int64_t>(left_ms, 1));
  }
  return submission;
}

void BeamSearch::BeginStep() {
  num_probed_ = 0;
  probes_.clear();
  for (uint32_t i = 0; i < beams_.size(); ++i) {
    probes_.push_back(std::make_shared<Probe>(this, i));
  }
  // A probe may end the whole search.
  const auto probes = probes_;
  for (const auto& probe : probes) {
    if (!done_) probe->Submit();
  }
}

void BeamSearch::OnProbed(uint32_t cached_tokens) {
  if (done_) return;
  owner_->OnChoiceNews(0, 1, num_tokens_in_beams() == 0 ? cached_tokens : 0);
  if (done_ || ++num_probed_ < beams_.size()) return;
  // Not on the stack of a probe, which the next step replaces.
  loop_->Post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self != nullptr && !self->done_) self->EndStep();
  });
}

BeamSearch::Beam BeamSearch::Extend(const Beam& beam, const PositionLogprobs& position,
                                    const TokenLogprob& next) const {
  Beam longer = beam;
  longer.ids.push_back(next.token_id);
  longer.sum += next.logprob;
  const auto wanted = prepared_->request.sampling.logprobs;
  if (wanted.has_value()) {
    longer.logprobs.push_back({next, position.top});
    std::vector<TokenLogprob>& top = longer.logprobs.back().top;
    top.resize(std::min<size_t>(top.size(), *wanted));
  }
  return longer;
}

void BeamSearch::EndStep() {
  const auto better = [this](const Beam& a, const Beam& b) { return Score(a) > Score(b); };
  std::vector<Beam> next;
  for (size_t i = 0; i < beams_.size(); ++i) {
    const PositionLogprobs& position = probes_[i]->position();
    if (position.top.empty()) {
      return owner_->OnChoiceFailed(
          absl::InternalError("the worker told no log-probabilities for beam search"));
    }
    const size_t num_next = std::min<size_t>(position.top.size(), 2 * width_);
    for (size_t t = 0; t < num_next; ++t) {
      Beam beam = Extend(beams_[i], position, position.top[t]);
      const bool ends = Ends(position.top[t].token_id);
      if (ends) beam.reason = FinishReason::kStop;
      (ends ? complete_ : next).push_back(std::move(beam));
    }
  }
  // All have the same length, so the sum alone decides between them.
  std::stable_sort(next.begin(), next.end(),
                   [](const Beam& a, const Beam& b) { return a.sum > b.sum; });
  next.resize(std::min<size_t>(next.size(), width_));
  beams_ = std::move(next);
  const bool full = num_tokens_in_beams() >= *prepared_->request.sampling.max_tokens;
  if (full) {
    for (Beam& beam : beams_) {
      beam.reason = FinishReason::kLength;
      complete_.push_back(std::move(beam));
    }
  }
  std::stable_sort(complete_.begin(), complete_.end(), better);
  complete_.resize(std::min<size_t>(complete_.size(), width_));
  if (full || beams_.empty() || Settled()) return Finish();
  BeginStep();
}

bool BeamSearch::Settled() const {
  const double penalty = prepared_->request.length_penalty;
  if (complete_.size() < width_) return false;
  // A beam's sum only falls. At best it stays, at the length that makes most of it.
  const double best_length =
      penalty >= 0 ? *prepared_->request.sampling.max_tokens : num_tokens_in_beams();
  return Score(complete_.back()) >= beams_.front().sum / std::pow(best_length, penalty);
}

void BeamSearch::Finish() {
  probes_.clear();
  beams_.clear();
  if (complete_.size() < width_) {
    return owner_->OnChoiceFailed(InvalidField(
        "n", absl::StrCat("beam search found ", complete_.size(), " different answers of ", width_,
                          "; ask for fewer, or for more tokens")));
  }
  DecodeNext();
}

void BeamSearch::DecodeNext() {
  const Beam& beam = complete_[num_reported_];
  DecodeItem item;
  item.ids = beam.ids;
  if (beam.reason == FinishReason::kStop && !prepared_->request.include_stop_in_output) {
    item.ids.pop_back();
  }
  item.skip_special_tokens = prepared_->request.skip_special_tokens;
  item.finish = true;
  if (prepared_->request.wants_pieces) {
    for (const PositionLogprobs& position : beam.logprobs) {
      item.piece_ids.push_back(position.token.token_id);
      for (const TokenLogprob& top : position.top) item.piece_ids.push_back(top.token_id);
    }
  }
  decoder_->Add(std::move(item), [weak = weak_from_this()](absl::StatusOr<DecodeResult> result) {
    if (const auto self = weak.lock()) self->OnDecoded(std::move(result));
  });
}

DeltaEvent BeamSearch::MakeDelta(Beam& beam, DecodeResult result) const {
  size_t next = 0;
  const auto spell = [&](TokenLogprob& token) {
    if (next < result.pieces.size()) token.piece = std::move(result.pieces[next++]);
  };
  for (PositionLogprobs& position : beam.logprobs) {
    spell(position.token);
    for (TokenLogprob& top : position.top) spell(top);
  }
  DeltaEvent delta;
  delta.index = num_reported_;
  size_t begin = 0;
  size_t characters = CountCharacters(prepared_->echo_text);
  for (size_t i = 0; i < beam.ids.size(); ++i) {
    OutputToken& token = delta.tokens.emplace_back();
    token.id = beam.ids[i];
    token.hidden = i >= result.text_end.size();
    token.text_offset = characters;
    if (i < beam.logprobs.size()) token.logprobs = std::move(beam.logprobs[i]);
    if (token.hidden) continue;
    const size_t end = std::clamp<size_t>(result.text_end[i], begin, result.text.size());
    characters += CountCharacters(absl::string_view(result.text).substr(begin, end - begin));
    begin = end;
  }
  delta.text = prepared_->echo_text + result.text;
  return delta;
}

void BeamSearch::OnDecoded(absl::StatusOr<DecodeResult> result) {
  if (done_) return;
  if (!result.ok()) return owner_->OnChoiceFailed(result.status());
  Beam& beam = complete_[num_reported_];
  FinishedEvent finished{num_reported_, beam.reason, std::nullopt, std::nullopt};
  if (beam.reason == FinishReason::kStop) finished.stop_token_id = beam.ids.back();
  const uint32_t num_tokens = static_cast<uint32_t>(beam.ids.size());
  owner_->OnChoiceDelta(MakeDelta(beam, *std::move(result)));
  if (done_) return;
  num_tokens_ += num_tokens;
  const bool last = ++num_reported_ == complete_.size();
  if (last) done_ = true;
  // The last word may end the request, and with it this.
  const auto self = shared_from_this();
  owner_->OnChoiceFinished(std::move(finished), num_tokens);
  if (!done_) DecodeNext();
}

}  // namespace quartet::gateway
