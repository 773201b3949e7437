#include "worker/engine/follower.h"

#include "common/status_macros.h"

namespace quartet::engine {

absl::Status RunFollower(const StepLimits& limits, uint64_t epoch, model::Model* model,
                         StepWatchdog* watchdog, PlanSource* source) {
  StepMirror mirror(limits, epoch);
  model::StepInput input;
  while (true) {
    ASSIGN_OR_RETURN(const StepPlan plan, source->Next());
    if (watchdog != nullptr) {
      watchdog->StepStarted(plan.step, static_cast<int64_t>(plan.token_ids.size()), SteadyNow());
    }
    absl::Status status = mirror.Apply(plan, &input);
    if (status.ok()) status = model->Forward(input);
    // A step that is broken off is no sign of life.
    if (watchdog != nullptr && status.ok()) watchdog->StepEnded(SteadyNow());
    source->Done(plan.step, status);
    RETURN_IF_ERROR(status);
  }
}

}  // namespace quartet::engine
