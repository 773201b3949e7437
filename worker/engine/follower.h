// The loop of every rank but the leader: take a plan, mirror it, run this rank's part.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/step_plan.h"
#include "worker/engine/step_watchdog.h"
#include "worker/model/model.h"

namespace quartet::engine {

// Where plans come from.
class PlanSource {
 public:
  virtual ~PlanSource() = default;
  // Waits for the next plan. An error ends the follower: CANCELLED if it was told to stop,
  // UNAVAILABLE if the leader has gone.
  virtual absl::StatusOr<StepPlan> Next() = 0;
  // Tells the leader that this rank's part of `step` is done or has failed.
  virtual void Done(uint64_t step, const absl::Status& status) = 0;
};

// Runs plans until the source ends or a step fails; returns why. `watchdog` may be null.
absl::Status RunFollower(const StepLimits& limits, uint64_t epoch, model::Model* model,
                         StepWatchdog* watchdog, PlanSource* source);

}  // namespace quartet::engine
