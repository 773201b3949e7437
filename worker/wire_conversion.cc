#include "worker/wire_conversion.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::worker_service {
namespace {

constexpr uint32_t kMaxInt32 = std::numeric_limits<int32_t>::max();

template <typename Ids>
absl::StatusOr<std::vector<int32_t>> ToIds(absl::string_view field, const Ids& ids) {
  std::vector<int32_t> result;
  result.reserve(ids.size());
  for (const uint32_t id : ids) {
    if (id > kMaxInt32) {
      return absl::InvalidArgumentError(absl::StrCat(field, " has the id ", id));
    }
    result.push_back(static_cast<int32_t>(id));
  }
  return result;
}

// -1: not asked for. A value that int32 can't hold stays out of range.
int32_t LogprobsCount(bool is_set, uint32_t count) {
  return is_set ? static_cast<int32_t>(std::min(count, kMaxInt32)) : -1;
}

absl::StatusOr<engine::SamplingParams> ToSamplingParams(
    const quartet::v1::SamplingParams& given, const quartet::v1::SamplingParams& defaults) {
  quartet::v1::SamplingParams merged = defaults;
  // Set scalars win, and repeated fields have no defaults.
  merged.MergeFrom(given);
  engine::SamplingParams params;
  if (merged.has_temperature()) params.temperature = merged.temperature();
  if (merged.has_top_p()) params.top_p = merged.top_p();
  if (merged.has_top_k()) params.top_k = merged.top_k();
  if (merged.has_min_p()) params.min_p = merged.min_p();
  if (merged.has_repetition_penalty()) params.repetition_penalty = merged.repetition_penalty();
  if (merged.has_presence_penalty()) params.presence_penalty = merged.presence_penalty();
  if (merged.has_frequency_penalty()) params.frequency_penalty = merged.frequency_penalty();
  for (const auto& [id, bias] : merged.logit_bias()) {
    if (id > kMaxInt32) {
      return absl::InvalidArgumentError(absl::StrCat("logit_bias has the id ", id));
    }
    params.logit_bias.push_back({static_cast<int32_t>(id), bias});
  }
  if (merged.has_seed()) params.seed = merged.seed();
  if (merged.has_max_tokens()) params.max_tokens = merged.max_tokens();
  if (merged.has_min_tokens()) params.min_tokens = merged.min_tokens();
  params.ignore_eos = merged.ignore_eos();
  ASSIGN_OR_RETURN(params.stop_token_ids, ToIds("stop_token_ids", merged.stop_token_ids()));
  ASSIGN_OR_RETURN(params.allowed_token_ids,
                   ToIds("allowed_token_ids", merged.allowed_token_ids()));
  for (const quartet::v1::BannedSequence& banned : merged.banned_sequences()) {
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, ToIds("banned_sequences", banned.ids()));
    params.banned_sequences.push_back(std::move(ids));
  }
  params.num_logprobs = LogprobsCount(merged.has_logprobs(), merged.logprobs());
  params.num_prompt_logprobs =
      LogprobsCount(merged.has_prompt_logprobs(), merged.prompt_logprobs());
  return params;
}

void SetTokenLogprob(const kernels::TokenLogprob& from, quartet::v1::TokenLogprob* to) {
  to->set_token_id(static_cast<uint32_t>(from.token_id));
  to->set_logprob(from.logprob);
  to->set_rank(static_cast<uint32_t>(from.rank));
}

void SetPositionLogprobs(const engine::PositionLogprobs& from, quartet::v1::PositionLogprobs* to) {
  SetTokenLogprob(from.token, to->mutable_token());
  for (const kernels::TokenLogprob& top : from.top) SetTokenLogprob(top, to->add_top());
}

quartet::v1::FinishReason ToProto(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kNone:
      return quartet::v1::FINISH_REASON_UNSPECIFIED;
    case engine::FinishReason::kStop:
      return quartet::v1::FINISH_REASON_STOP;
    case engine::FinishReason::kLength:
      return quartet::v1::FINISH_REASON_LENGTH;
  }
  return quartet::v1::FINISH_REASON_UNSPECIFIED;
}

std::vector<int32_t> ToInt32(const google::protobuf::RepeatedField<uint32_t>& field) {
  return {field.begin(), field.end()};
}

}  // namespace

absl::StatusOr<engine::SequenceRequest> ToSequenceRequest(
    const worker::v1::Submit& submit, const quartet::v1::SamplingParams& defaults) {
  engine::SequenceRequest request;
  request.key.sequence_id = submit.sequence_id();
  request.request_id = submit.request_id();
  request.choice_index = submit.choice_index();
  request.attempt = submit.attempt();
  ASSIGN_OR_RETURN(request.prompt_ids, ToIds("prompt_ids", submit.prompt_ids()));
  ASSIGN_OR_RETURN(request.output_ids, ToIds("output_ids", submit.output_ids()));
  ASSIGN_OR_RETURN(request.sampling, ToSamplingParams(submit.sampling(), defaults));
  request.priority = submit.priority();
  request.cache_salt = submit.cache_salt();
  request.tenant = submit.tenant();
  request.timeout_ms = submit.timeout_ms();
  ASSIGN_OR_RETURN(request.eos_token_ids, ToIds("eos_token_ids", submit.eos_token_ids()));
  return request;
}

absl::StatusOr<grammar::OutputFormat> ToOutputFormat(const quartet::v1::StructuredOutput& proto) {
  using Format = quartet::v1::StructuredOutput;
  using Kind = grammar::OutputFormat::Kind;
  grammar::OutputFormat format;
  format.compact_json = proto.compact_json();
  switch (proto.format_case()) {
    case Format::kJsonObject:
      format.kind = Kind::kJsonObject;
      break;
    case Format::kJsonSchema:
      format.kind = Kind::kJsonSchema;
      format.text = proto.json_schema();
      break;
    case Format::kRegex:
      format.kind = Kind::kRegex;
      format.text = proto.regex();
      break;
    case Format::kChoice:
      format.kind = Kind::kChoice;
      format.choices = {proto.choice().texts().begin(), proto.choice().texts().end()};
      break;
    case Format::kEbnfGrammar:
      format.kind = Kind::kEbnf;
      format.text = proto.ebnf_grammar();
      break;
    case Format::kStructuralTag:
      format.kind = Kind::kStructuralTag;
      format.text = proto.structural_tag();
      break;
    case Format::FORMAT_NOT_SET:
      return absl::InvalidArgumentError(
          "structured_output has no format; set json_object, json_schema, regex, choice, "
          "ebnf_grammar or structural_tag");
  }
  return format;
}

void ToProto(const engine::SequenceEvent& event, worker::v1::SequenceEvent* to) {
  worker::v1::SequenceEvent& proto = *to;
  proto.set_sequence_id(event.sequence_id);
  proto.mutable_token_ids()->Add(event.token_ids.begin(), event.token_ids.end());
  for (const auto& logprobs : event.logprobs) SetPositionLogprobs(logprobs, proto.add_logprobs());
  for (const auto& logprobs : event.prompt_logprobs) {
    SetPositionLogprobs(logprobs, proto.add_prompt_logprobs());
  }
  proto.set_finish_reason(ToProto(event.finish_reason));
  if (event.stop_token_id.has_value()) proto.set_stop_token_id(*event.stop_token_id);
  proto.set_cached_tokens(event.cached_tokens);
  if (event.error.ok()) return;
  // absl's codes are google.rpc.Code's.
  proto.set_error_code(static_cast<int32_t>(event.error.code()));
  proto.set_error_message(std::string(event.error.message()));
}

void ToProto(const engine::StepPlan& plan, worker::v1::StepPlan* to_plan) {
  worker::v1::StepPlan& proto = *to_plan;
  const auto set = [](const std::vector<int32_t>& from, auto* to) {
    to->Add(from.begin(), from.end());
  };
  proto.set_step(plan.step);
  proto.set_epoch(plan.epoch);
  set(plan.token_ids, proto.mutable_token_ids());
  set(plan.slots, proto.mutable_slots());
  set(plan.num_new_tokens, proto.mutable_num_new_tokens());
  set(plan.num_cached_tokens, proto.mutable_num_cached_tokens());
  set(plan.num_logits, proto.mutable_num_logits());
  for (const engine::BlockTableUpdate& update : plan.block_updates) {
    worker::v1::BlockTableUpdate* to = proto.add_block_updates();
    to->set_slot(static_cast<uint32_t>(update.slot));
    to->set_first(static_cast<uint32_t>(update.first));
    set(update.blocks, to->mutable_blocks());
  }
}

engine::StepPlan ToStepPlan(const worker::v1::StepPlan& proto) {
  engine::StepPlan plan;
  plan.step = proto.step();
  plan.epoch = proto.epoch();
  // Values too large for int32 become negative, which the mirror refuses.
  plan.token_ids = ToInt32(proto.token_ids());
  plan.slots = ToInt32(proto.slots());
  plan.num_new_tokens = ToInt32(proto.num_new_tokens());
  plan.num_cached_tokens = ToInt32(proto.num_cached_tokens());
  plan.num_logits = ToInt32(proto.num_logits());
  for (const worker::v1::BlockTableUpdate& update : proto.block_updates()) {
    plan.block_updates.push_back({static_cast<int32_t>(update.slot()),
                                  static_cast<int32_t>(update.first()), ToInt32(update.blocks())});
  }
  return plan;
}

quartet::v1::SamplingParams ToProto(const model::GenerationConfig& generation) {
  quartet::v1::SamplingParams proto;
  if (generation.temperature) proto.set_temperature(*generation.temperature);
  if (generation.top_p) proto.set_top_p(*generation.top_p);
  if (generation.top_k) proto.set_top_k(*generation.top_k);
  if (generation.min_p) proto.set_min_p(*generation.min_p);
  if (generation.repetition_penalty) proto.set_repetition_penalty(*generation.repetition_penalty);
  return proto;
}

}  // namespace quartet::worker_service
