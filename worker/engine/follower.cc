#include "worker/engine/follower.h"

#include "common/status_macros.h"

namespace quartet::engine {
namespace {

absl::Status RunStep(const StepPlan& plan, const StepLimits& limits, StepMirror* mirror,
                     model::Model* model, model::StepInput* input) {
  RETURN_IF_ERROR(mirror->Apply(plan, input));
  // Like the leader: tokens that were not known when the plan was made come first.
  std::vector<int32_t> ids(CountSampledTokens(*input));
  if (!ids.empty()) {
    RETURN_IF_ERROR(model->ShareTokenIds(&ids));
    RETURN_IF_ERROR(FillSampledTokens(ids, limits.vocab_size, input));
  }
  return model->Forward(*input);
}

}  // namespace

absl::Status RunFollower(const StepLimits& limits, uint64_t epoch, model::Model* model,
                         StepWatchdog* watchdog, PlanSource* source) {
  StepMirror mirror(limits, epoch);
  model::StepInput input;
  while (true) {
    ASSIGN_OR_RETURN(const StepPlan plan, source->Next());
    if (watchdog != nullptr) {
      watchdog->StepStarted(plan.step, static_cast<int64_t>(plan.token_ids.size()), SteadyNow());
    }
    absl::Status status = RunStep(plan, limits, &mirror, model, &input);
    // A step that is broken off is no sign of life.
    if (watchdog != nullptr && status.ok()) watchdog->StepEnded(SteadyNow());
    source->Done(plan.step, status);
    RETURN_IF_ERROR(status);
  }
}

}  // namespace quartet::engine
