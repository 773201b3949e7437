// Between the messages of proto/quartet/worker/v1 and the engine's plain structs. Messages that
// come in are checked where a struct can't hold what they say.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "quartet/worker/v1/group.pb.h"
#include "quartet/worker/v1/worker.pb.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_plan.h"
#include "worker/model/model_config.h"

namespace quartet::worker_service {

// Fields that `submit` leaves unset are taken from `defaults`. client_id and sample_limit stay
// unset. Returns INVALID_ARGUMENT naming a field whose value is out of every range.
absl::StatusOr<engine::SequenceRequest> ToSequenceRequest(
    const worker::v1::Submit& submit, const quartet::v1::SamplingParams& defaults);

// Returns INVALID_ARGUMENT if no format is set.
absl::StatusOr<grammar::OutputFormat> ToOutputFormat(const quartet::v1::StructuredOutput& proto);

// Fill an empty message. A message that was used before and cleared has its memory already.
void ToProto(const engine::SequenceEvent& event, worker::v1::SequenceEvent* to);
void ToProto(const engine::StepPlan& plan, worker::v1::StepPlan* to);
engine::StepPlan ToStepPlan(const worker::v1::StepPlan& plan);

quartet::v1::SamplingParams ToProto(const model::GenerationConfig& generation);

}  // namespace quartet::worker_service
