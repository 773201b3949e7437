// The loop of the leader: schedule a step, run it on all ranks, sample, commit. Sequences come in
// through Submit, what happens to them goes out through the event sink.
//
// Steps are pipelined: step n + 1 is planned and sent to all ranks while step n computes, so that
// the device never waits for the host. A sequence that turns out to have ended in step n has then
// at most one surplus token in step n + 1, which is thrown away.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/engine_load.h"
#include "worker/engine/helper_threads.h"
#include "worker/engine/inbox.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_plan.h"
#include "worker/engine/step_runner.h"
#include "worker/engine/step_watchdog.h"
#include "worker/model/model.h"

namespace quartet::engine {

struct EngineOptions {
  SchedulerOptions scheduler;
  int64_t max_waiting = 1024;                     // sequences that wait; beyond it Submit refuses
  int64_t max_waiting_tokens = int64_t{1} << 20;  // that they begin with; likewise
  int64_t vocab_size = 0;
  std::vector<int32_t> eos_token_ids;  // the model's own; they join each request's
  uint64_t epoch = 0;
  std::function<absl::Time()> clock = SteadyNow;
};

// What a step cost, for metrics.
struct StepTimes {
  int64_t num_decodes = 0;
  int64_t num_prompt_tokens = 0;
  absl::Duration device;  // forward pass and sampling
  // How long the device had nothing to do before the step although sequences were there; negative
  // if there were none.
  absl::Duration device_idle;
  absl::Duration host;   // CPU time of the engine's thread
  absl::Duration masks;  // filling the masks of constrained sequences, while the device computed
  int64_t num_masks = 0;
};

// What the engine calls, always from its own thread and without holding a lock.
struct EngineCallbacks {
  // All news of one step for one client.
  std::function<void(uint64_t client_id, uint64_t step, std::vector<SequenceEvent> events)>
      on_events;
  // A step is done. May be null.
  std::function<void(const StepTimes& times)> on_step;
  // Sends the plan to the other ranks. May be null.
  std::function<absl::Status(const StepPlan& plan)> broadcast;
  // The engine has ended for good. Called before each sequence gets its error, so that whoever can
  // tell a client in a better way does it here. May be null.
  std::function<void(const absl::Status& why)> on_failure;
};

// Submit, Cancel, Detach, Probe, Fail and load() may be called from any thread; Start, Stop and
// RunStep from one. Sleeps without a timeout when there is nothing to do.
class Engine {
 public:
  // `model` and `watchdog` (may be null) must outlive the engine. REQUIRES:
  // ValidateSchedulerOptions is OK.
  Engine(const EngineOptions& options, model::Model* model, StepWatchdog* watchdog,
         EngineCallbacks callbacks);
  ~Engine();

  // Runs the loop in a thread of its own until Stop or a failure.
  void Start();
  // Ends the loop after the current step. Idempotent.
  void Stop();

  // What Submit would say of the request itself.
  absl::Status Check(const SequenceRequest& request) const;
  // A new sequence. Returns INVALID_ARGUMENT naming field and value, RESOURCE_EXHAUSTED if too many
  // wait, UNAVAILABLE if the engine has failed; then no event follows. Several calls for requests
  // that came together should follow each other at once, so that one step takes them all.
  absl::Status Submit(SequenceRequest request);
  // Ends a sequence; no event follows that isn't already on its way. Unknown keys are ignored.
  void Cancel(const SequenceKey& key);
  // Ends all sequences of a client.
  void Detach(uint64_t client_id);
  // Has all ranks run an empty step soon, unless there is work anyway: a sign that they answer.
  void Probe();
  // Ends the engine with an error: on_failure is called, then every sequence gets `why`.
  void Fail(const absl::Status& why);

  EngineLoad load() const { return inbox_.load(); }

  // One turn of the loop, for tests and for callers without a thread: takes in what was submitted,
  // plans a step if there is one, and commits the step before it. False if there was nothing to do.
  // Returns the engine's failure after it has failed.
  absl::StatusOr<bool> RunStep();

 private:
  using EventMap = std::map<uint64_t, std::vector<SequenceEvent>>;  // by client
  // A planned step, until it is committed.
  struct Outstanding {
    uint64_t number = 0;
    ScheduledStep step;
    absl::Time launched;           // on the steady clock
    bool follows_at_once = false;  // sequences were there when the step before it was committed
  };

  void Loop();
  // Plans step n + 1 as late as possible while step n computes, so that what is submitted meanwhile
  // gets into it.
  void WaitForPlanningTime();
  void TakeCommands(EventMap* events);
  void AddSequence(SequenceRequest request, EventMap* events);
  void ExpireSequences(EventMap* events);
  absl::StatusOr<bool> Advance(EventMap* events);
  StepPlan MakePlan(const ScheduledStep& step, std::vector<int32_t>* sampled_rows);
  // Sends the step to all ranks.
  absl::Status Launch(ScheduledStep step);
  // Works out what the constrained sequences of a step may sample.
  void PrepareRows(const ScheduledStep& step);
  // Tells the runner what to sample from a step; all steps before it are committed.
  void SetRows(const ScheduledStep& step);
  // Waits for the oldest step's result and takes it in.
  absl::Status CommitOldest(EventMap* events);
  void Commit(const ScheduledStep& step, std::vector<kernels::SampledToken> tokens,
              EventMap* events);
  void ReportTimes(const Outstanding& done, const StepResult& result);
  // Keeps removed sequences until the steps that read them are done.
  void Retire(std::unique_ptr<Sequence> sequence);
  void CommitSample(Sequence* sequence, kernels::SampledToken token, EventMap* events);
  void Emit(EventMap events);
  void FailAll(const absl::Status& why);
  void PublishLoad();

  const EngineOptions options_;
  const EngineCallbacks callbacks_;
  Inbox inbox_;

  // The loop's own.
  Scheduler scheduler_;
  StepMirror mirror_;
  StepRunner runner_;
  std::deque<Outstanding> outstanding_;  // oldest first; at most two
  // The row that the newest planned step samples for each slot; -1: none.
  std::vector<int32_t> row_of_slot_;
  std::vector<std::pair<uint64_t, std::unique_ptr<Sequence>>> retired_;  // and the last step then
  uint64_t step_ = 0;                                                    // the newest planned one
  uint64_t committed_ = 0;                                               // the newest committed one
  int64_t num_partial_prompts_ = 0;                                      // of the newest step
  absl::Time last_ended_ = absl::InfinitePast();
  absl::Duration host_time_;  // CPU time of the engine's thread at the last commit
  bool was_busy_ = false;     // sequences were left after the last commit
  bool has_ended_ = false;
  HelperThreads helpers_;
  absl::Duration mask_time_;  // of the newest rows
  int64_t num_masks_ = 0;

  std::thread thread_;
};

}  // namespace quartet::engine
