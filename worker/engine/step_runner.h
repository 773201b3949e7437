// Runs steps on the model, in order, while the engine plans the next one: the half of the loop that
// waits for the device.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/step_plan.h"
#include "worker/engine/step_watchdog.h"
#include "worker/model/model.h"

namespace quartet::engine {

// A step that is ready for the model.
struct StepWork {
  uint64_t step = 0;
  model::StepInput input;
  // For each kSampledToken of `input`, the row of the step before that sampled it.
  std::vector<int32_t> sampled_rows;
};

struct StepResult {
  std::vector<kernels::SampledToken> tokens;  // one a row
  // On the steady clock.
  absl::Time started;
  absl::Time ended;
};

// Used by one thread, the engine's; at most two steps are outstanding.
class StepRunner {
 public:
  enum class Mode {
    kThread,  // steps run in a thread of their own
    kInline,  // a step runs inside Wait, for tests that go step by step
  };

  // `model` and `watchdog` (may be null) must outlive the runner.
  StepRunner(int64_t vocab_size, model::Model* model, StepWatchdog* watchdog);
  ~StepRunner();

  // REQUIRES: nothing is outstanding.
  void SetMode(Mode mode);

  void Submit(std::unique_ptr<StepWork> work);
  // What is sampled from the oldest step that has no rows yet; it waits for them after its forward
  // pass. What the rows point to must stay until Wait has returned the step.
  void SetRows(std::vector<kernels::SampleRow> rows);
  // Whether the oldest outstanding step is done by `deadline` on the steady clock; waits until
  // then.
  bool WaitUntil(absl::Time deadline);
  // The oldest outstanding step's result. After an error nothing runs any more.
  absl::StatusOr<StepResult> Wait();
  int64_t num_outstanding() const { return num_outstanding_; }

  // Lets what runs come to its end, drops the rest and joins the thread. Idempotent; nothing may be
  // submitted afterwards.
  void Stop();

 private:
  struct Step {
    std::unique_ptr<StepWork> work;
    bool has_rows = false;
    std::vector<kernels::SampleRow> rows;
    bool is_done = false;
    absl::Status status;
    StepResult result;
  };
  void Loop();
  // Runs the step but for its sampling, then that; false if the runner stops before its rows come.
  absl::Status RunForward(Step* step);
  absl::Status RunSample(Step* step);
  absl::Status Run(Step* step, std::unique_lock<std::mutex>* lock);

  const int64_t vocab_size_;
  model::Model* const model_;
  StepWatchdog* const watchdog_;
  Mode mode_ = Mode::kInline;
  int64_t num_outstanding_ = 0;
  size_t num_with_rows_ = 0;  // of the outstanding ones
  // What the last step sampled; used by whoever runs steps.
  std::vector<int32_t> last_tokens_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Step>> steps_;  // outstanding, oldest first
  bool is_stopping_ = false;

  std::thread thread_;
};

}  // namespace quartet::engine
