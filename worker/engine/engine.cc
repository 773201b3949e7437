#include "worker/engine/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::engine {
namespace {

StepLimits LimitsOf(const EngineOptions& options) {
  return {options.vocab_size, options.scheduler.num_blocks, options.scheduler.max_num_seqs,
          options.scheduler.max_num_batched_tokens};
}

SequenceEvent ErrorEvent(uint64_t sequence_id, absl::Status error) {
  SequenceEvent event;
  event.sequence_id = sequence_id;
  event.error = std::move(error);
  return event;
}

absl::Status CheckIds(absl::string_view field, const std::vector<int32_t>& ids, int64_t limit) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "] is ", ids[i], ", but the model has the ids below ", limit));
  }
  return absl::OkStatus();
}

PositionLogprobs LogprobsOf(kernels::SampledToken token) {
  return {token.logprob, std::move(token.top)};
}

}  // namespace

Engine::Engine(const EngineOptions& options, model::Model* model, StepWatchdog* watchdog,
               EngineCallbacks callbacks)
    : options_(options),
      model_(model),
      watchdog_(watchdog),
      callbacks_(std::move(callbacks)),
      scheduler_(options.scheduler),
      mirror_(LimitsOf(options), options.epoch) {
  PublishLoad();
}

Engine::~Engine() { Stop(); }

void Engine::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Engine::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

absl::Status Engine::Validate(const SequenceRequest& request) const {
  if (request.prompt_ids.empty()) {
    return absl::InvalidArgumentError("prompt_ids is empty: the model needs at least one token");
  }
  RETURN_IF_ERROR(CheckIds("prompt_ids", request.prompt_ids, options_.vocab_size));
  RETURN_IF_ERROR(CheckIds("output_ids", request.output_ids, options_.vocab_size));
  RETURN_IF_ERROR(CheckIds("eos_token_ids", request.eos_token_ids, options_.vocab_size));
  RETURN_IF_ERROR(ValidateSamplingParams(request.sampling, options_.vocab_size));
  if (static_cast<int64_t>(request.output_ids.size()) >= request.sampling.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("output_ids has ", request.output_ids.size(), " ids and max_tokens is ",
                     request.sampling.max_tokens, ": nothing is left to generate"));
  }
  return Scheduler::CheckFits(request, options_.scheduler);
}

absl::Status Engine::Submit(SequenceRequest request) {
  request.eos_token_ids.insert(request.eos_token_ids.end(), options_.eos_token_ids.begin(),
                               options_.eos_token_ids.end());
  RETURN_IF_ERROR(Validate(request));
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_.ok()) return failure_;
    const int64_t waiting = load_.num_waiting + num_submitted_;
    if (waiting >= options_.max_waiting) {
      return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting,
                                                       " sequences wait, --max_waiting is ",
                                                       options_.max_waiting, "; try again later"));
    }
    inbox_.emplace_back(std::move(request));
    ++num_submitted_;
  }
  work_.notify_one();
  return absl::OkStatus();
}

void Engine::Push(Command command) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    inbox_.push_back(std::move(command));
  }
  work_.notify_one();
}

void Engine::Cancel(const SequenceKey& key) { Push(CancelCommand{key}); }

void Engine::Detach(uint64_t client_id) { Push(DetachCommand{client_id}); }

void Engine::Probe() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    probe_wanted_ = true;
  }
  work_.notify_one();
}

bool Engine::TakeProbe() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(probe_wanted_, false);
}

void Engine::Fail(const absl::Status& why) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.ok()) failure_ = why;
  }
  work_.notify_one();
}

absl::Status Engine::failure() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return failure_;
}

EngineLoad Engine::load() const {
  std::lock_guard<std::mutex> lock(mutex_);
  EngineLoad load = load_;
  load.num_waiting += num_submitted_;
  return load;
}

void Engine::PublishLoad() {
  std::lock_guard<std::mutex> lock(mutex_);
  load_.num_running = scheduler_.num_running();
  load_.num_waiting = scheduler_.num_waiting();
  load_.num_used_blocks = scheduler_.block_pool().num_used();
  load_.num_blocks = scheduler_.block_pool().num_blocks();
  load_.num_steps = step_;
  load_.num_preemptions = scheduler_.num_preemptions();
}

bool Engine::WaitForWork() {
  std::unique_lock<std::mutex> lock(mutex_);
  work_.wait(lock, [this] {
    return stopping_ || probe_wanted_ || !failure_.ok() || !inbox_.empty() || !scheduler_.empty();
  });
  return !stopping_;
}

void Engine::Loop() {
  while (WaitForWork()) {
    if (!RunStep().ok()) return;
  }
}

absl::StatusOr<bool> Engine::RunStep() {
  absl::Status status = failure();
  EventMap events;
  ScheduledStep step;
  std::vector<kernels::SampledToken> tokens;
  if (status.ok()) {
    TakeCommands(&events);
    ExpireSequences(&events);
    step = scheduler_.Schedule();
    // The load counts the sequences in the step while it runs.
    PublishLoad();
    const bool probes = TakeProbe();
    if (probes || !step.sequences.empty()) status = Execute(MakePlan(step), step, &tokens);
  }
  if (status.ok() && !step.sequences.empty()) Commit(step, std::move(tokens), &events);
  PublishLoad();
  Emit(std::move(events));
  if (status.ok()) return !step.sequences.empty();
  FailAll(status);
  return failure();
}

void Engine::TakeCommands(EventMap* events) {
  std::vector<Command> commands;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    commands.swap(inbox_);
    // Counted as waiting from here on, without a gap in which they count nowhere.
    load_.num_waiting += std::exchange(num_submitted_, 0);
  }
  for (Command& command : commands) {
    if (auto* request = std::get_if<SequenceRequest>(&command)) {
      AddSequence(std::move(*request), events);
    } else if (auto* cancel = std::get_if<CancelCommand>(&command)) {
      scheduler_.Remove(cancel->key);
    } else {
      scheduler_.RemoveClient(std::get<DetachCommand>(command).client_id);
    }
  }
}

void Engine::AddSequence(SequenceRequest request, EventMap* events) {
  const SequenceKey key = request.key;
  if (scheduler_.Contains(key)) {
    // Events of the two could not be told apart, so both end.
    scheduler_.Remove(key);
    (*events)[key.client_id].push_back(ErrorEvent(
        key.sequence_id,
        absl::AlreadyExistsError(absl::StrCat("sequence_id ", key.sequence_id,
                                              " was submitted again while it was running"))));
    return;
  }
  scheduler_.Add(std::make_unique<Sequence>(std::move(request), options_.clock()));
}

void Engine::ExpireSequences(EventMap* events) {
  for (const auto& sequence : scheduler_.RemoveExpired(options_.clock())) {
    const SequenceRequest& request = sequence->request();
    (*events)[request.key.client_id].push_back(ErrorEvent(
        request.key.sequence_id, absl::DeadlineExceededError(absl::StrCat(
                                     "the request's ", request.timeout_ms, " ms are over after ",
                                     sequence->num_output_tokens(), " output tokens",
                                     sequence->has_sent_event || !request.output_ids.empty()
                                         ? ""
                                         : " (it was still waiting or reading its prompt)"))));
  }
}

StepPlan Engine::MakePlan(const ScheduledStep& step) {
  StepPlan plan;
  plan.step = ++step_;
  plan.epoch = options_.epoch;
  plan.block_updates = step.block_updates;
  for (const ScheduledSequence& scheduled : step.sequences) {
    const Sequence& sequence = *scheduled.sequence;
    const auto first = sequence.tokens().begin() + sequence.num_computed_tokens;
    plan.token_ids.insert(plan.token_ids.end(), first, first + scheduled.num_new_tokens);
    plan.slots.push_back(sequence.slot);
    plan.num_new_tokens.push_back(static_cast<int32_t>(scheduled.num_new_tokens));
    plan.num_cached_tokens.push_back(static_cast<int32_t>(sequence.num_computed_tokens));
    plan.num_logits.push_back(static_cast<int32_t>(scheduled.num_logits));
  }
  return plan;
}

absl::Status Engine::Execute(const StepPlan& plan, const ScheduledStep& step,
                             std::vector<kernels::SampledToken>* tokens) {
  if (watchdog_ != nullptr) {
    watchdog_->StepStarted(plan.step, static_cast<int64_t>(plan.token_ids.size()), SteadyNow());
  }
  if (callbacks_.broadcast) RETURN_IF_ERROR(callbacks_.broadcast(plan));
  RETURN_IF_ERROR(mirror_.Apply(plan, &input_));
  RETURN_IF_ERROR(model_->Forward(input_));
  rows_.clear();
  for (const ScheduledSequence& scheduled : step.sequences) {
    const int64_t num_prompt_rows = scheduled.num_logits - (scheduled.samples ? 1 : 0);
    const int64_t position = scheduled.sequence->next_prompt_logprob_position();
    for (int64_t i = 0; i < num_prompt_rows; ++i) {
      rows_.push_back(
          scheduled.sequence->PromptLogprobRow(static_cast<int64_t>(rows_.size()), position + i));
    }
    if (scheduled.samples) {
      rows_.push_back(scheduled.sequence->NextSampleRow(static_cast<int64_t>(rows_.size())));
    }
  }
  if (!rows_.empty()) RETURN_IF_ERROR(model_->Sample(rows_, tokens));
  QUARTET_CHECK(tokens->size() == rows_.size());
  if (watchdog_ != nullptr) watchdog_->StepEnded(SteadyNow());
  return absl::OkStatus();
}

void Engine::Commit(const ScheduledStep& step, std::vector<kernels::SampledToken> tokens,
                    EventMap* events) {
  size_t row = 0;
  for (const ScheduledSequence& scheduled : step.sequences) {
    Sequence& sequence = *scheduled.sequence;
    const int64_t num_prompt_rows = scheduled.num_logits - (scheduled.samples ? 1 : 0);
    for (int64_t i = 0; i < num_prompt_rows; ++i) {
      sequence.prompt_logprobs.push_back(LogprobsOf(std::move(tokens[row++])));
    }
    sequence.num_computed_tokens += scheduled.num_new_tokens;
    if (scheduled.samples) CommitSample(&sequence, std::move(tokens[row++]), events);
  }
}

void Engine::CommitSample(Sequence* sequence, kernels::SampledToken token, EventMap* events) {
  const SequenceKey key = sequence->request().key;
  std::vector<SequenceEvent>& client_events = (*events)[key.client_id];
  if (token.token_id < 0) {
    client_events.push_back(ErrorEvent(
        key.sequence_id, absl::InternalError(absl::StrCat(
                             "no token can be sampled after ", sequence->num_output_tokens(),
                             " output tokens: all are masked or the logits are not numbers"))));
    scheduler_.Remove(key);
    return;
  }
  SequenceEvent event;
  event.sequence_id = key.sequence_id;
  event.token_ids = {token.token_id};
  event.finish_reason = sequence->AppendOutput(token.token_id, options_.scheduler.max_model_len);
  if (event.finish_reason == FinishReason::kStop) event.stop_token_id = token.token_id;
  if (token.has_logprobs) event.logprobs.push_back(LogprobsOf(std::move(token)));
  if (!sequence->has_sent_event) event.prompt_logprobs = std::move(sequence->prompt_logprobs);
  sequence->has_sent_event = true;
  const bool has_ended = event.finish_reason != FinishReason::kNone;
  client_events.push_back(std::move(event));
  if (has_ended) scheduler_.Remove(key);
}

void Engine::Emit(EventMap events) {
  for (auto& [client_id, client_events] : events) {
    callbacks_.on_events(client_id, step_, std::move(client_events));
  }
}

void Engine::FailAll(const absl::Status& why) {
  if (std::exchange(has_ended_, true)) return;
  // A rank's death is known before the collective that waits for it gives up; it says more.
  Fail(absl::UnavailableError(absl::StrCat("the worker group failed: ", why.message())));
  const absl::Status reason = failure();
  common::LogError("engine ends", {{"why", reason.message()}, {"step", step_}});
  EventMap events;
  TakeCommands(&events);
  for (const auto& sequence : scheduler_.RemoveAll()) {
    const SequenceKey& key = sequence->request().key;
    events[key.client_id].push_back(ErrorEvent(key.sequence_id, reason));
  }
  PublishLoad();
  if (callbacks_.on_failure) callbacks_.on_failure(reason);
  Emit(std::move(events));
}

}  // namespace quartet::engine
