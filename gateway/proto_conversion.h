// The only place where protobuf messages and the gateway's plain structs meet.
#pragma once

#include "gateway/generation_types.h"
#include "gateway/tokenizer.h"
#include "gateway/worker_group.h"
#include "quartet/tokenizer/v1/tokenizer.pb.h"
#include "quartet/v1/chat.pb.h"
#include "quartet/v1/inference.pb.h"
#include "quartet/v1/sampling.pb.h"
#include "quartet/v1/structured_output.pb.h"
#include "quartet/worker/v1/worker.pb.h"

namespace quartet::gateway {

ChatPrompt FromProto(const v1::ChatPrompt& proto);
v1::ChatPrompt ToProto(const ChatPrompt& chat);
SamplingParams FromProto(const v1::SamplingParams& proto);
v1::SamplingParams ToProto(const SamplingParams& params);
StructuredOutput FromProto(const v1::StructuredOutput& proto);
v1::StructuredOutput ToProto(const StructuredOutput& output);
GenerationRequest FromProto(const v1::GenerateRequest& proto);
v1::GenerateEvent ToProto(const GenerationEvent& event);

tokenizer::v1::StreamDecodeRequest ToProto(const std::vector<DecodeItem>& items);
std::vector<DecodeResult> FromProto(const tokenizer::v1::StreamDecodeResponse& proto);
TokenizerInfo FromProto(const tokenizer::v1::GetInfoResponse& proto);

worker::v1::Submit ToProto(const Submission& submission);
std::vector<SequenceNews> FromProto(const worker::v1::StepEvents& proto);
GroupInfo FromProto(const worker::v1::GetInfoResponse& proto);

}  // namespace quartet::gateway
