// The loop of the leader: schedule a step, run it on all ranks, sample, commit. Sequences come in
// through Submit, what happens to them goes out through the event sink.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_plan.h"
#include "worker/engine/step_watchdog.h"
#include "worker/model/model.h"

namespace quartet::engine {

struct EngineOptions {
  SchedulerOptions scheduler;
  int64_t max_waiting = 1024;  // sequences that wait; beyond it Submit refuses
  int64_t vocab_size = 0;
  std::vector<int32_t> eos_token_ids;  // the model's own; they join each request's
  uint64_t epoch = 0;
  std::function<absl::Time()> clock = SteadyNow;
};

// What the engine calls, always from its own thread and without holding a lock.
struct EngineCallbacks {
  // All news of one step for one client.
  std::function<void(uint64_t client_id, uint64_t step, std::vector<SequenceEvent> events)>
      on_events;
  // Sends the plan to the other ranks. May be null.
  std::function<absl::Status(const StepPlan& plan)> broadcast;
  // The engine has ended for good. Called before each sequence gets its error, so that whoever can
  // tell a client in a better way does it here. May be null.
  std::function<void(const absl::Status& why)> on_failure;
};

struct EngineLoad {
  int64_t num_running = 0;
  int64_t num_waiting = 0;
  int64_t num_used_blocks = 0;
  int64_t num_blocks = 0;
  uint64_t num_steps = 0;
  uint64_t num_preemptions = 0;
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

  EngineLoad load() const;

  // One turn of the loop, for tests and for callers without a thread: takes in what was submitted
  // and runs a step if there is one. False if there was nothing to run. Returns the engine's
  // failure after it has failed.
  absl::StatusOr<bool> RunStep();

 private:
  struct CancelCommand {
    SequenceKey key;
  };
  struct DetachCommand {
    uint64_t client_id;
  };
  using Command = std::variant<SequenceRequest, CancelCommand, DetachCommand>;
  using EventMap = std::map<uint64_t, std::vector<SequenceEvent>>;  // by client

  absl::Status Validate(const SequenceRequest& request) const;
  void Push(Command command);
  void Loop();
  bool WaitForWork();
  bool TakeProbe();
  void TakeCommands(EventMap* events);
  void AddSequence(SequenceRequest request, EventMap* events);
  void ExpireSequences(EventMap* events);
  StepPlan MakePlan(const ScheduledStep& step);
  // Runs the plan on all ranks and samples; `tokens` gets one entry for each row of logits.
  absl::Status Execute(const StepPlan& plan, const ScheduledStep& step,
                       std::vector<kernels::SampledToken>* tokens);
  void Commit(const ScheduledStep& step, std::vector<kernels::SampledToken> tokens,
              EventMap* events);
  void CommitSample(Sequence* sequence, kernels::SampledToken token, EventMap* events);
  void Emit(EventMap events);
  void FailAll(const absl::Status& why);
  absl::Status failure() const;
  void PublishLoad();

  const EngineOptions options_;
  model::Model* const model_;
  StepWatchdog* const watchdog_;
  const EngineCallbacks callbacks_;

  // The loop's own.
  Scheduler scheduler_;
  StepMirror mirror_;
  model::StepInput input_;
  std::vector<kernels::SampleRow> rows_;
  uint64_t step_ = 0;
  bool has_ended_ = false;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Command> inbox_;  // guarded by mutex_, as all below
  int64_t num_submitted_ = 0;   // sequences in inbox_
  bool probe_wanted_ = false;
  bool stopping_ = false;
  absl::Status failure_;
  EngineLoad load_;

  std::thread thread_;
};

}  // namespace quartet::engine
