#include "worker/engine/engine.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/engine/request_validation.h"

namespace quartet::engine {
namespace {

// When the next step is planned: after this part of the running step's predicted time, less what
// planning takes.
constexpr double kPlanAfter = 0.8;
constexpr absl::Duration kPlanTime = absl::Microseconds(500);

absl::Duration ThreadCpuTime() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

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

PositionLogprobs LogprobsOf(kernels::SampledToken token) {
  return {token.logprob, std::move(token.top)};
}

}  // namespace

Engine::Engine(const EngineOptions& options, model::Model* model, StepWatchdog* watchdog,
               EngineCallbacks callbacks)
    : options_(options),
      callbacks_(std::move(callbacks)),
      inbox_({options.max_waiting, options.max_waiting_tokens}),
      scheduler_(options.scheduler),
      mirror_(LimitsOf(options), options.epoch),
      runner_(options.vocab_size, model, watchdog),
      row_of_slot_(options.scheduler.max_num_seqs, -1) {
  PublishLoad();
}

Engine::~Engine() { Stop(); }

void Engine::Start() {
  runner_.SetMode(StepRunner::Mode::kThread);
  thread_ = std::thread([this] { Loop(); });
}

void Engine::Stop() {
  inbox_.Stop();
  if (thread_.joinable()) thread_.join();
  runner_.Stop();
}

absl::Status Engine::Check(const SequenceRequest& request) const {
  return ValidateRequest(request, options_.vocab_size, options_.scheduler);
}

absl::Status Engine::Submit(SequenceRequest request) {
  request.eos_token_ids.insert(request.eos_token_ids.end(), options_.eos_token_ids.begin(),
                               options_.eos_token_ids.end());
  RETURN_IF_ERROR(Check(request));
  return inbox_.Submit(std::move(request));
}

void Engine::Cancel(const SequenceKey& key) { inbox_.Push(Inbox::Cancel{key}); }

void Engine::Detach(uint64_t client_id) { inbox_.Push(Inbox::Detach{client_id}); }

void Engine::Probe() { inbox_.Probe(); }

void Engine::Fail(const absl::Status& why) { inbox_.Fail(why); }

void Engine::PublishLoad() {
  EngineLoad load;
  load.num_running = scheduler_.num_running();
  load.num_waiting = scheduler_.num_waiting();
  load.num_used_blocks = scheduler_.block_pool().num_used();
  load.num_blocks = scheduler_.block_pool().num_blocks();
  load.num_waiting_tokens = scheduler_.num_waiting_tokens();
  load.num_cached_blocks = scheduler_.prefix_cache().num_cached();
  load.num_partial_prompts = num_partial_prompts_;
  load.num_steps = committed_;
  load.counters = scheduler_.counters();
  inbox_.Publish(load);
}

void Engine::Loop() {
  while (inbox_.Wait(!scheduler_.empty() || !outstanding_.empty())) {
    WaitForPlanningTime();
    if (!RunStep().ok()) return;
  }
}

void Engine::WaitForPlanningTime() {
  if (outstanding_.empty()) return;
  const Outstanding& running = outstanding_.front();
  const absl::Duration predicted = scheduler_.PredictedDuration(running.step);
  runner_.WaitUntil(std::max(running.launched, last_ended_) + kPlanAfter * predicted - kPlanTime);
}

absl::StatusOr<bool> Engine::RunStep() {
  EventMap events;
  absl::StatusOr<bool> has_worked = false;
  if (absl::Status status = inbox_.failure(); status.ok()) {
    has_worked = Advance(&events);
  } else {
    has_worked = std::move(status);
  }
  PublishLoad();
  Emit(std::move(events));
  if (has_worked.ok()) return has_worked;
  FailAll(has_worked.status());
  return inbox_.failure();
}

absl::StatusOr<bool> Engine::Advance(EventMap* events) {
  TakeCommands(events);
  ExpireSequences(events);
  ScheduledStep step = scheduler_.Schedule();
  num_partial_prompts_ = std::count_if(step.sequences.begin(), step.sequences.end(),
                                       [](const ScheduledSequence& s) { return !s.samples; });
  // The load counts the sequences in the step while it runs.
  PublishLoad();
  const bool probes = inbox_.TakeProbe() && outstanding_.empty();
  const bool is_planned = probes || !step.sequences.empty();
  if (is_planned) RETURN_IF_ERROR(Launch(std::move(step)));
  if (outstanding_.size() > 1 || (!is_planned && !outstanding_.empty())) {
    RETURN_IF_ERROR(CommitOldest(events));
    return true;
  }
  return is_planned;
}

void Engine::TakeCommands(EventMap* events) {
  for (Inbox::Command& command : inbox_.Take()) {
    if (auto* request = std::get_if<SequenceRequest>(&command)) {
      AddSequence(std::move(*request), events);
    } else if (auto* cancel = std::get_if<Inbox::Cancel>(&command)) {
      Retire(scheduler_.Remove(cancel->key));
    } else {
      const uint64_t client_id = std::get<Inbox::Detach>(command).client_id;
      for (auto& sequence : scheduler_.RemoveClient(client_id)) Retire(std::move(sequence));
    }
  }
}

void Engine::AddSequence(SequenceRequest request, EventMap* events) {
  const SequenceKey key = request.key;
  if (scheduler_.Contains(key)) {
    // Events of the two could not be told apart, so both end.
    Retire(scheduler_.Remove(key));
    (*events)[key.client_id].push_back(ErrorEvent(
        key.sequence_id,
        absl::AlreadyExistsError(absl::StrCat("sequence_id ", key.sequence_id,
                                              " was submitted again while it was running"))));
    return;
  }
  scheduler_.Add(
      std::make_unique<Sequence>(std::move(request), options_.clock(), options_.vocab_size));
}

void Engine::ExpireSequences(EventMap* events) {
  for (auto& sequence : scheduler_.RemoveExpired(options_.clock())) {
    const SequenceRequest& request = sequence->request();
    (*events)[request.key.client_id].push_back(ErrorEvent(
        request.key.sequence_id, absl::DeadlineExceededError(absl::StrCat(
                                     "the request's ", request.timeout_ms, " ms are over after ",
                                     sequence->num_output_tokens(), " output tokens",
                                     sequence->has_sent_event || !request.output_ids.empty()
                                         ? ""
                                         : " (it was still waiting or reading its prompt)"))));
    Retire(std::move(sequence));
  }
}

void Engine::Retire(std::unique_ptr<Sequence> sequence) {
  if (sequence != nullptr && !outstanding_.empty()) {
    retired_.emplace_back(step_, std::move(sequence));
  }
}

StepPlan Engine::MakePlan(const ScheduledStep& step, std::vector<int32_t>* sampled_rows) {
  StepPlan plan;
  plan.step = ++step_;
  plan.epoch = options_.epoch;
  plan.block_updates = step.block_updates;
  std::vector<int32_t> row_of_slot(row_of_slot_.size(), -1);
  int32_t num_rows = 0;
  for (const ScheduledSequence& scheduled : step.sequences) {
    const Sequence& sequence = *scheduled.sequence;
    const int64_t end = scheduled.first_position + scheduled.num_new_tokens;
    for (int64_t i = scheduled.first_position; i < end; ++i) {
      if (i < sequence.num_tokens()) {
        plan.token_ids.push_back(sequence.tokens()[i]);
      } else {
        plan.token_ids.push_back(kSampledToken);
        sampled_rows->push_back(row_of_slot_[sequence.slot]);
      }
    }
    plan.slots.push_back(sequence.slot);
    plan.num_new_tokens.push_back(static_cast<int32_t>(scheduled.num_new_tokens));
    plan.num_cached_tokens.push_back(static_cast<int32_t>(scheduled.first_position));
    plan.num_logits.push_back(static_cast<int32_t>(scheduled.num_logits));
    num_rows += static_cast<int32_t>(scheduled.num_logits);
    if (scheduled.samples) row_of_slot[sequence.slot] = num_rows - 1;
  }
  row_of_slot_ = std::move(row_of_slot);
  return plan;
}

absl::Status Engine::Launch(ScheduledStep step) {
  auto work = std::make_unique<StepWork>();
  const StepPlan plan = MakePlan(step, &work->sampled_rows);
  if (callbacks_.broadcast) RETURN_IF_ERROR(callbacks_.broadcast(plan));
  RETURN_IF_ERROR(mirror_.Apply(plan, &work->input));
  work->step = plan.step;
  runner_.Submit(std::move(work));
  const bool is_only = outstanding_.empty();
  outstanding_.push_back({plan.step, std::move(step), SteadyNow(), !is_only || was_busy_});
  if (is_only) SetRows(outstanding_.back().step);
  return absl::OkStatus();
}

void Engine::PrepareRows(const ScheduledStep& step) {
  std::vector<Sequence*> constrained;
  for (const ScheduledSequence& scheduled : step.sequences) {
    Sequence* const sequence = scheduled.sequence;
    if (scheduled.samples && !sequence->is_removed && sequence->needs_preparation()) {
      constrained.push_back(sequence);
    }
  }
  mask_time_ = absl::ZeroDuration();
  num_masks_ = static_cast<int64_t>(constrained.size());
  if (constrained.empty()) return;
  const absl::Time start = SteadyNow();
  helpers_.ForEach(constrained.size(), [&](size_t i) { constrained[i]->PrepareNextRow(); });
  mask_time_ = SteadyNow() - start;
}

void Engine::SetRows(const ScheduledStep& step) {
  PrepareRows(step);
  std::vector<kernels::SampleRow> rows;
  for (const ScheduledSequence& scheduled : step.sequences) {
    const Sequence& sequence = *scheduled.sequence;
    // Rows of the logits that come before the one that is sampled tell about the prompt.
    int64_t position = static_cast<int64_t>(sequence.prompt_logprobs.size()) + 1;
    for (int64_t i = 0; i < scheduled.num_logits; ++i) {
      const int64_t row = static_cast<int64_t>(rows.size());
      if (sequence.is_removed) {
        // Nobody wants it, but later rows keep their numbers.
        rows.emplace_back();
        rows.back().logits_row = row;
        rows.back().forced_token_id = 0;
      } else if (scheduled.samples && i + 1 == scheduled.num_logits) {
        rows.push_back(sequence.NextSampleRow(row));
      } else {
        rows.push_back(sequence.PromptLogprobRow(row, position++));
      }
    }
  }
  runner_.SetRows(std::move(rows));
}

absl::Status Engine::CommitOldest(EventMap* events) {
  ASSIGN_OR_RETURN(StepResult result, runner_.Wait());
  const Outstanding done = std::move(outstanding_.front());
  outstanding_.pop_front();
  Commit(done.step, std::move(result.tokens), events);
  // The device may be waiting for these by now.
  if (!outstanding_.empty()) SetRows(outstanding_.front().step);
  committed_ = done.number;
  const auto is_done = [this](const auto& retired) { return retired.first <= committed_; };
  retired_.erase(std::remove_if(retired_.begin(), retired_.end(), is_done), retired_.end());
  scheduler_.ObserveStep(done.step, result.ended - std::max(result.started, last_ended_));
  was_busy_ = !scheduler_.empty();
  ReportTimes(done, result);
  last_ended_ = result.ended;
  return absl::OkStatus();
}

void Engine::ReportTimes(const Outstanding& done, const StepResult& result) {
  const absl::Duration host_time = ThreadCpuTime();
  StepTimes times;
  times.num_decodes = done.step.num_decodes;
  times.num_prompt_tokens = done.step.num_prompt_tokens;
  times.device = result.ended - result.started;
  times.device_idle =
      done.follows_at_once ? result.started - last_ended_ : -absl::InfiniteDuration();
  times.host = host_time - host_time_;
  times.masks = mask_time_;
  times.num_masks = num_masks_;
  host_time_ = host_time;
  if (callbacks_.on_step) callbacks_.on_step(times);
}

void Engine::Commit(const ScheduledStep& step, std::vector<kernels::SampledToken> tokens,
                    EventMap* events) {
  size_t row = 0;
  for (const ScheduledSequence& scheduled : step.sequences) {
    Sequence& sequence = *scheduled.sequence;
    const size_t end = row + static_cast<size_t>(scheduled.num_logits);
    if (sequence.is_removed) row = end;
    while (row + (scheduled.samples ? 1 : 0) < end) {
      sequence.prompt_logprobs.push_back(LogprobsOf(std::move(tokens[row++])));
    }
    if (row < end) CommitSample(&sequence, std::move(tokens[row++]), events);
  }
}

void Engine::CommitSample(Sequence* sequence, kernels::SampledToken token, EventMap* events) {
  const SequenceKey key = sequence->request().key;
  std::vector<SequenceEvent>& client_events = (*events)[key.client_id];
  if (client_events.empty()) {
    client_events.reserve(static_cast<size_t>(scheduler_.num_running()) + 1);
  }
  if (const absl::Status& status = sequence->constraint().status(); !status.ok()) {
    client_events.push_back(ErrorEvent(key.sequence_id, status));
    Retire(scheduler_.Remove(key));
    return;
  }
  if (sequence->constraint().has_ended()) {
    // The grammar is at its end and no end-of-sequence id may be sampled: what was is surplus.
    SequenceEvent event;
    event.sequence_id = key.sequence_id;
    event.finish_reason = FinishReason::kStop;
    client_events.push_back(std::move(event));
    Retire(scheduler_.Remove(key));
    return;
  }
  if (token.token_id < 0) {
    client_events.push_back(ErrorEvent(
        key.sequence_id, absl::InternalError(absl::StrCat(
                             "no token can be sampled after ", sequence->num_output_tokens(),
                             " output tokens: all are masked or the logits are not numbers"))));
    Retire(scheduler_.Remove(key));
    return;
  }
  SequenceEvent event;
  event.sequence_id = key.sequence_id;
  event.token_ids = {token.token_id};
  event.finish_reason = sequence->AppendOutput(token.token_id, options_.scheduler.max_model_len);
  if (event.finish_reason == FinishReason::kStop) event.stop_token_id = token.token_id;
  if (token.has_logprobs) event.logprobs.push_back(LogprobsOf(std::move(token)));
  if (!sequence->has_sent_event) {
    event.prompt_logprobs = std::move(sequence->prompt_logprobs);
    event.cached_tokens =
        static_cast<uint32_t>(std::max<int64_t>(0, sequence->num_cached_prompt_tokens));
  }
  sequence->has_sent_event = true;
  const bool has_ended = event.finish_reason != FinishReason::kNone;
  client_events.push_back(std::move(event));
  if (has_ended) Retire(scheduler_.Remove(key));
}

void Engine::Emit(EventMap events) {
  for (auto& [client_id, client_events] : events) {
    callbacks_.on_events(client_id, committed_, std::move(client_events));
  }
}

void Engine::FailAll(const absl::Status& why) {
  if (std::exchange(has_ended_, true)) return;
  // A rank's death is known before the collective that waits for it gives up; it says more.
  Fail(absl::UnavailableError(absl::StrCat("the worker group failed: ", why.message())));
  const absl::Status reason = inbox_.failure();
  common::LogError("engine ends", {{"why", reason.message()}, {"step", step_}});
  // What runs may read sequences until its end.
  runner_.Stop();
  outstanding_.clear();
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
