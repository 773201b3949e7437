#include "gateway/generation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "gateway/fingerprint.h"
#include "gateway/request_error.h"

namespace quartet::gateway {
namespace {

// A worker names what it refuses as quartet.v1 does; clients of HTTP know it by the field that they
// sent.
absl::Status InClientsWords(const absl::Status& status,
                            const std::optional<StructuredOutput>& shape) {
  absl::string_view rest = status.message();
  if (!absl::IsInvalidArgument(status) || !absl::StartsWith(rest, "structured_output")) {
    return status;
  }
  const absl::string_view name = rest.substr(0, rest.find_first_of(": "));
  rest.remove_prefix(name.size());
  const bool is_renamed = shape.has_value() && !shape->field.empty();
  const std::string field = is_renamed ? shape->field : std::string(name);
  return InvalidField(field, absl::StrCat(field, rest));
}

}  // namespace

Generation::Generation(const GenerationEnvironment& environment,
                       std::shared_ptr<const ModelFacts> model, GenerationRequest request,
                       uint64_t drawn_seed, Admission::Ticket ticket,
                       std::shared_ptr<GenerationSink> sink, std::function<void()> on_done)
    : env_(environment),
      model_(std::move(model)),
      prepared_(std::make_shared<PreparedRequest>()),
      ticket_(std::move(ticket)),
      sink_(std::move(sink)),
      on_done_(std::move(on_done)),
      arrival_(env_.loop->Now()) {
  prepared_->request = std::move(request);
  if (!prepared_->request.sampling.seed) prepared_->request.sampling.seed = drawn_seed;
  prepared_->eos_token_ids = model_->eos_token_ids;
  // It dies with this, and calls nobody then.
  preparation_ = std::make_shared<PromptPreparation>(
      env_.loop, env_.tokenizer, env_.decoder, model_, prepared_, arrival_ + env_.resume_timeout);
}

void Generation::Start() {
  const absl::Status valid = ValidateRequest(prepared_->request, *model_);
  if (!valid.ok()) return Fail(valid);
  const absl::Duration timeout = prepared_->request.timeout;
  if (timeout != absl::InfiniteDuration()) {
    prepared_->deadline = arrival_ + timeout;
    deadline_timer_ = env_.loop->PostAfter(timeout, [weak = weak_from_this(), timeout] {
      if (const auto self = weak.lock()) {
        self->Fail(absl::DeadlineExceededError(
            absl::StrCat("the request was not done after ", absl::FormatDuration(timeout))));
      }
    });
  }
  hold_timer_ = env_.loop->PostAfter(env_.started_hold, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->hold_is_over_ = true;
    if (self->stage_ == Stage::kRunning) self->EmitStarted();
  });
  preparation_->Encode([this](absl::Status encoded) { OnEncoded(std::move(encoded)); });
}

void Generation::OnEncoded(absl::Status status) {
  if (stage_ == Stage::kDone) return;
  if (!status.ok()) return Fail(std::move(status));
  const size_t num_tokens = prepared_->prompt_ids->size();
  absl::StatusOr<uint32_t> max_tokens = ResolveMaxTokens(prepared_->request, num_tokens, *model_);
  if (!max_tokens.ok()) return Fail(max_tokens.status());
  const absl::Status admitted = ticket_.AddPromptTokens(num_tokens);
  if (!admitted.ok()) return Fail(admitted);
  prepared_->request.sampling.max_tokens = *max_tokens;
  preparation_->Describe([this](absl::Status described) { OnDescribed(std::move(described)); });
}

void Generation::OnDescribed(absl::Status status) {
  if (stage_ == Stage::kDone) return;
  if (!status.ok()) return Fail(std::move(status));
  SubmitChoices();
}

void Generation::SubmitChoices() {
  // The ids are what counts from now on, and a long text would stay as long as its answers.
  prepared_->request.prompt = TokenIds();
  prepared_->request.suffix.reset();
  GenerationRequest& request = prepared_->request;
  num_choices_ = std::max(request.n, request.best_of.value_or(request.n));
  if (num_choices_ > request.n) {
    const bool show_logprobs = request.sampling.logprobs.has_value();
    best_of_.emplace(request.n, num_choices_, show_logprobs);
    if (!show_logprobs) request.sampling.logprobs = 0;  // What the answers are ranked by.
  }
  env_.metrics->ObservePrompt(static_cast<uint32_t>(prepared_->prompt_ids->size()));
  stage_ = Stage::kRunning;
  if (request.use_beam_search) return StartBeamSearch();
  last_news_.assign(num_choices_, absl::InfinitePast());
  for (uint32_t i = 0; i < num_choices_; ++i) {
    choices_.push_back(
        std::make_shared<Choice>(prepared_, i, env_.loop, env_.router, env_.decoder, this));
    // The request was admitted while a group was there; should it be gone by now, that is a pause
    // like any other.
    choices_.back()->SubmitOrWait();
  }
  if (hold_is_over_) EmitStarted();
}

void Generation::StartBeamSearch() {
  last_news_.assign(1, absl::InfinitePast());  // Of all beams together.
  beam_search_ =
      std::make_shared<BeamSearch>(prepared_, env_.loop, env_.router, env_.decoder, this);
  beam_search_->Start();
  if (hold_is_over_ && stage_ == Stage::kRunning) EmitStarted();
}

void Generation::EmitStarted() {
  if (std::exchange(started_, true)) return;
  std::set<std::string> sources;
  const auto add = [&sources](const Placement& placement) {
    if (placement.numerics_id.empty()) return;
    sources.insert(absl::StrCat(placement.model_hash, " ", placement.numerics_id));
  };
  for (const auto& choice : choices_) add(choice->placement());
  if (beam_search_ != nullptr) add(beam_search_->placement());
  Emit(StartedEvent{request_id(), model_->name, *prepared_->prompt_ids,
                    *prepared_->request.sampling.seed, Fingerprint(sources),
                    std::move(prepared_->prompt_text)});
}

void Generation::Emit(GenerationEvent event) {
  if (sink_ != nullptr) sink_->OnEvent(std::move(event));
}

void Generation::OnChoiceNews(uint32_t index, size_t num_tokens, uint32_t cached_tokens) {
  if (stage_ != Stage::kRunning) return;
  const absl::Time now = env_.loop->Now();
  absl::Time& last = last_news_[index];
  if (num_tokens > 0) {
    const bool first = last == absl::InfinitePast();
    if (!started_) env_.metrics->ObserveFirstToken(now - arrival_);
    env_.metrics->ObserveTokens(num_tokens, first ? absl::Seconds(-1) : now - last);
    last = now;
  }
  cached_tokens_ = std::max(cached_tokens_, cached_tokens);
  EmitStarted();
}

void Generation::OnChoiceDelta(DeltaEvent delta) {
  if (best_of_.has_value()) return best_of_->Add(std::move(delta));
  Emit(std::move(delta));
}

void Generation::OnChoiceFinished(FinishedEvent finished, uint32_t num_tokens) {
  env_.metrics->ObserveAnswer(finished.reason);
  ++num_finished_;
  if (best_of_.has_value()) {
    best_of_->Add(std::move(finished));
  } else {
    Emit(std::move(finished));
  }
  FinishIfComplete();
}

void Generation::OnChoiceFailed(const absl::Status& status) {
  Fail(InClientsWords(status, prepared_->request.structured_output));
}

void Generation::OnChoiceWaiting(uint32_t index, bool waiting, const absl::Status& why) {
  if (stage_ != Stage::kRunning) return;
  if (!waiting) {
    if (--num_waiting_ == 0) env_.loop->CancelTimer(std::exchange(resume_timer_, 0));
    return;
  }
  ++num_waiting_;
  common::LogWarning("worker lost, waiting for another",
                     {{"request_id", request_id()}, {"choice", index}, {"why", why.ToString()}});
  if (resume_timer_ != 0) return;
  const absl::Duration timeout = env_.resume_timeout;
  resume_timer_ = env_.loop->PostAfter(timeout, [weak = weak_from_this(), timeout] {
    if (const auto self = weak.lock()) {
      self->Fail(absl::UnavailableError(
          absl::StrCat("the worker was lost and none that gives the same numbers came back within ",
                       absl::FormatDuration(timeout), " (--resume_timeout)")));
    }
  });
}

void Generation::OnChoiceResumed(uint32_t index) { env_.metrics->ObserveResume(); }

void Generation::OnChoiceRecovered(uint32_t index, absl::Duration since_loss,
                                   absl::Duration since_resume, size_t num_recomputed) {
  env_.metrics->ObserveRecovery(since_loss, since_resume, num_recomputed);
}

void Generation::FinishIfComplete() {
  if (stage_ != Stage::kRunning || num_finished_ < num_choices_) return;
  if (best_of_.has_value()) {
    for (GenerationEvent& event : best_of_->TakeBest()) Emit(std::move(event));
  }
  const UsageEvent usage{static_cast<uint32_t>(prepared_->prompt_ids->size()), num_tokens(),
                         cached_tokens_};
  Emit(usage);
  const absl::Duration elapsed = env_.loop->Now() - arrival_;
  env_.metrics->ObserveRequestEnd(elapsed);
  common::LogInfo("request done", {{"request_id", request_id()},
                                   {"prompt_tokens", usage.prompt_tokens},
                                   {"completion_tokens", usage.completion_tokens},
                                   {"cached_tokens", usage.cached_tokens},
                                   {"ms", absl::ToInt64Milliseconds(elapsed)}});
  Done();
}

uint32_t Generation::num_tokens() const {
  uint32_t total = 0;
  for (const auto& choice : choices_) total += choice->num_tokens();
  if (beam_search_ != nullptr) total += beam_search_->num_tokens();
  return total;
}

void Generation::Cancel() {
  if (stage_ == Stage::kDone) return;
  common::LogInfo("request cancelled",
                  {{"request_id", request_id()}, {"completion_tokens", num_tokens()}});
  env_.metrics->ObserveAnswer(FinishReason::kAbort);
  sink_.reset();
  Done();
}

void Generation::Abort() {
  if (stage_ == Stage::kDone) return;
  if (stage_ == Stage::kPreparing) return Fail(absl::CancelledError("the request was aborted"));
  EmitStarted();
  if (beam_search_ != nullptr) {
    // No answer is one before the search is over.
    beam_search_->Cancel();
    while (stage_ == Stage::kRunning) {
      OnChoiceFinished({num_finished_, FinishReason::kAbort, std::nullopt, std::nullopt}, 0);
    }
    return;
  }
  for (const auto& choice : choices_) {
    if (stage_ == Stage::kDone) return;
    if (choice->done()) continue;
    choice->Cancel();
    OnChoiceFinished({choice->index(), FinishReason::kAbort, std::nullopt, std::nullopt},
                     choice->num_tokens());
  }
}

void Generation::Fail(absl::Status status) {
  if (stage_ == Stage::kDone) return;
  env_.metrics->ObserveFailure(status);
  const uint32_t delivered = num_tokens();
  common::LogWarning("request failed", {{"request_id", request_id()},
                                        {"error", status.ToString()},
                                        {"completion_tokens", delivered}});
  if (started_) {
    status = absl::Status(status.code(), absl::StrCat(status.message(), "; ", delivered,
                                                      " tokens were delivered before"));
  }
  Emit(FailedEvent{std::move(status)});
  Done();
}

void Generation::Done() {
  stage_ = Stage::kDone;
  for (const auto& choice : choices_) choice->Cancel();
  if (beam_search_ != nullptr) beam_search_->Cancel();
  for (uint64_t* timer : {&hold_timer_, &deadline_timer_, &resume_timer_}) {
    env_.loop->CancelTimer(std::exchange(*timer, 0));
  }
  sink_.reset();
  ticket_ = Admission::Ticket();
  on_done_();
}

}  // namespace quartet::gateway
