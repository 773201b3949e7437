#include "gateway/proto_conversion.h"

#include <utility>

namespace quartet::gateway {
namespace {

template <class Repeated>
TokenIds Ids(const Repeated& repeated) {
  return TokenIds(repeated.begin(), repeated.end());
}

template <class Repeated>
void AddIds(const TokenIds& ids, Repeated* repeated) {
  repeated->Add(ids.begin(), ids.end());
}

TokenLogprob FromProto(const v1::TokenLogprob& proto) {
  return {proto.token_id(), proto.logprob(), proto.rank(), ""};
}

std::vector<PositionLogprobs> FromProto(
    const google::protobuf::RepeatedPtrField<v1::PositionLogprobs>& proto) {
  std::vector<PositionLogprobs> positions;
  positions.reserve(proto.size());
  for (const v1::PositionLogprobs& from : proto) {
    PositionLogprobs& position = positions.emplace_back();
    position.token = FromProto(from.token());
    for (const v1::TokenLogprob& top : from.top()) position.top.push_back(FromProto(top));
  }
  return positions;
}

void ToProto(const TokenLogprob& token, v1::TokenLogprob* proto) {
  proto->set_token_id(token.token_id);
  proto->set_logprob(token.logprob);
  proto->set_rank(token.rank);
}

void ToProto(const PositionLogprobs& position, v1::PositionLogprobs* proto) {
  ToProto(position.token, proto->mutable_token());
  for (const TokenLogprob& top : position.top) ToProto(top, proto->add_top());
}

void ToProto(const DeltaEvent& delta, v1::Delta* proto) {
  proto->set_index(delta.index);
  proto->set_text(delta.text);
  for (const OutputToken& token : delta.tokens) {
    proto->add_token_ids(token.id);
    if (token.logprobs.has_value()) ToProto(*token.logprobs, proto->add_logprobs());
  }
  for (const PromptToken& token : delta.prompt_tokens) {
    if (token.logprobs.has_value()) ToProto(*token.logprobs, proto->add_prompt_logprobs());
  }
}

void ToProto(const FinishedEvent& finished, v1::Finished* proto) {
  proto->set_index(finished.index);
  proto->set_reason(static_cast<v1::FinishReason>(finished.reason));
  if (finished.stop_string) proto->set_stop_string(*finished.stop_string);
  if (finished.stop_token_id) proto->set_stop_token_id(*finished.stop_token_id);
}

void ToProto(const StartedEvent& started, v1::Started* proto) {
  proto->set_request_id(started.request_id);
  proto->set_model(started.model);
  AddIds(started.prompt_token_ids, proto->mutable_prompt_token_ids());
  proto->set_seed(started.seed);
}

}  // namespace

ChatPrompt FromProto(const v1::ChatPrompt& proto) {
  ChatPrompt chat;
  for (const v1::ChatMessage& from : proto.messages()) {
    ChatMessage message{from.role(), from.content(), {}, from.tool_call_id(), from.name()};
    for (const v1::ToolCall& call : from.tool_calls()) {
      message.tool_calls.push_back({call.id(), call.name(), call.arguments_json()});
    }
    chat.messages.push_back(std::move(message));
  }
  chat.tools_json.assign(proto.tools_json().begin(), proto.tools_json().end());
  if (proto.has_add_generation_prompt()) {
    chat.add_generation_prompt = proto.add_generation_prompt();
  }
  chat.continue_final_message = proto.continue_final_message();
  chat.template_kwargs_json = proto.template_kwargs_json();
  chat.documents_json.assign(proto.documents_json().begin(), proto.documents_json().end());
  chat.chat_template = proto.chat_template();
  return chat;
}

v1::ChatPrompt ToProto(const ChatPrompt& chat) {
  v1::ChatPrompt proto;
  for (const ChatMessage& message : chat.messages) {
    v1::ChatMessage* to = proto.add_messages();
    to->set_role(message.role);
    to->set_content(message.content);
    to->set_tool_call_id(message.tool_call_id);
    to->set_name(message.name);
    for (const ToolCall& call : message.tool_calls) {
      v1::ToolCall* to_call = to->add_tool_calls();
      to_call->set_id(call.id);
      to_call->set_name(call.name);
      to_call->set_arguments_json(call.arguments_json);
    }
  }
  for (const std::string& tool : chat.tools_json) proto.add_tools_json(tool);
  proto.set_add_generation_prompt(chat.add_generation_prompt);
  proto.set_continue_final_message(chat.continue_final_message);
  proto.set_template_kwargs_json(chat.template_kwargs_json);
  for (const std::string& document : chat.documents_json) proto.add_documents_json(document);
  proto.set_chat_template(chat.chat_template);
  return proto;
}

SamplingParams FromProto(const v1::SamplingParams& p) {
  SamplingParams params;
  if (p.has_temperature()) params.temperature = p.temperature();
  if (p.has_top_p()) params.top_p = p.top_p();
  if (p.has_top_k()) params.top_k = p.top_k();
  if (p.has_min_p()) params.min_p = p.min_p();
  if (p.has_repetition_penalty()) params.repetition_penalty = p.repetition_penalty();
  if (p.has_presence_penalty()) params.presence_penalty = p.presence_penalty();
  if (p.has_frequency_penalty()) params.frequency_penalty = p.frequency_penalty();
  params.logit_bias.insert(p.logit_bias().begin(), p.logit_bias().end());
  if (p.has_seed()) params.seed = p.seed();
  if (p.has_max_tokens()) params.max_tokens = p.max_tokens();
  if (p.has_min_tokens()) params.min_tokens = p.min_tokens();
  if (p.has_ignore_eos()) params.ignore_eos = p.ignore_eos();
  params.stop_token_ids = Ids(p.stop_token_ids());
  if (p.has_logprobs()) params.logprobs = p.logprobs();
  if (p.has_prompt_logprobs()) params.prompt_logprobs = p.prompt_logprobs();
  params.allowed_token_ids = Ids(p.allowed_token_ids());
  for (const v1::BannedSequence& banned : p.banned_sequences()) {
    params.banned_sequences.push_back(Ids(banned.ids()));
  }
  return params;
}

v1::SamplingParams ToProto(const SamplingParams& params) {
  v1::SamplingParams p;
  if (params.temperature) p.set_temperature(*params.temperature);
  if (params.top_p) p.set_top_p(*params.top_p);
  if (params.top_k) p.set_top_k(*params.top_k);
  if (params.min_p) p.set_min_p(*params.min_p);
  if (params.repetition_penalty) p.set_repetition_penalty(*params.repetition_penalty);
  if (params.presence_penalty) p.set_presence_penalty(*params.presence_penalty);
  if (params.frequency_penalty) p.set_frequency_penalty(*params.frequency_penalty);
  p.mutable_logit_bias()->insert(params.logit_bias.begin(), params.logit_bias.end());
  if (params.seed) p.set_seed(*params.seed);
  if (params.max_tokens) p.set_max_tokens(*params.max_tokens);
  if (params.min_tokens) p.set_min_tokens(*params.min_tokens);
  if (params.ignore_eos) p.set_ignore_eos(*params.ignore_eos);
  AddIds(params.stop_token_ids, p.mutable_stop_token_ids());
  if (params.logprobs) p.set_logprobs(*params.logprobs);
  if (params.prompt_logprobs) p.set_prompt_logprobs(*params.prompt_logprobs);
  AddIds(params.allowed_token_ids, p.mutable_allowed_token_ids());
  for (const TokenIds& banned : params.banned_sequences) {
    AddIds(banned, p.add_banned_sequences()->mutable_ids());
  }
  return p;
}

StructuredOutput FromProto(const v1::StructuredOutput& proto) {
  using Kind = StructuredOutput::Kind;
  StructuredOutput output;
  output.compact_json = proto.compact_json();
  switch (proto.format_case()) {
    case v1::StructuredOutput::kJsonSchema:
      output.kind = Kind::kJsonSchema;
      output.text = proto.json_schema();
      break;
    case v1::StructuredOutput::kRegex:
      output.kind = Kind::kRegex;
      output.text = proto.regex();
      break;
    case v1::StructuredOutput::kChoice:
      output.kind = Kind::kChoice;
      output.choices.assign(proto.choice().texts().begin(), proto.choice().texts().end());
      break;
    case v1::StructuredOutput::kEbnfGrammar:
      output.kind = Kind::kEbnfGrammar;
      output.text = proto.ebnf_grammar();
      break;
    case v1::StructuredOutput::kStructuralTag:
      output.kind = Kind::kStructuralTag;
      output.text = proto.structural_tag();
      break;
    case v1::StructuredOutput::kJsonObject:
    case v1::StructuredOutput::FORMAT_NOT_SET:
      break;
  }
  return output;
}

v1::StructuredOutput ToProto(const StructuredOutput& output) {
  using Kind = StructuredOutput::Kind;
  v1::StructuredOutput proto;
  if (output.compact_json) proto.set_compact_json(true);
  switch (output.kind) {
    case Kind::kJsonObject:
      proto.mutable_json_object();
      break;
    case Kind::kJsonSchema:
      proto.set_json_schema(output.text);
      break;
    case Kind::kRegex:
      proto.set_regex(output.text);
      break;
    case Kind::kChoice:
      proto.mutable_choice();
      for (const std::string& text : output.choices) proto.mutable_choice()->add_texts(text);
      break;
    case Kind::kEbnfGrammar:
      proto.set_ebnf_grammar(output.text);
      break;
    case Kind::kStructuralTag:
      proto.set_structural_tag(output.text);
      break;
  }
  return proto;
}

GenerationRequest FromProto(const v1::GenerateRequest& proto) {
  GenerationRequest request;
  request.request_id = proto.request_id();
  request.model = proto.model();
  if (proto.has_token_ids()) {
    request.prompt = Ids(proto.token_ids().ids());
  } else if (proto.has_chat()) {
    request.prompt = FromProto(proto.chat());
  } else {
    request.prompt = proto.text();
  }
  request.sampling = FromProto(proto.sampling());
  request.stop.assign(proto.stop().begin(), proto.stop().end());
  if (proto.has_n()) request.n = proto.n();
  if (proto.has_echo()) request.echo = proto.echo();
  if (proto.has_skip_special_tokens()) request.skip_special_tokens = proto.skip_special_tokens();
  if (proto.has_priority()) request.priority = proto.priority();
  request.cache_salt = proto.cache_salt();
  request.tenant = proto.tenant();
  // An empty message would mean "any JSON object" to one reader and "free text" to another.
  if (proto.structured_output().format_case() != v1::StructuredOutput::FORMAT_NOT_SET) {
    request.structured_output = FromProto(proto.structured_output());
  }
  request.bad_words.assign(proto.bad_words().begin(), proto.bad_words().end());
  request.include_stop_in_output = proto.include_stop_in_output();
  if (proto.has_truncate_prompt_tokens()) {
    request.truncate_prompt_tokens = proto.truncate_prompt_tokens();
  }
  if (proto.has_suffix()) request.suffix = proto.suffix();
  if (proto.has_best_of()) request.best_of = proto.best_of();
  if (proto.has_add_special_tokens()) request.add_special_tokens = proto.add_special_tokens();
  return request;
}

v1::GenerateEvent ToProto(const GenerationEvent& event) {
  v1::GenerateEvent proto;
  if (const auto* started = std::get_if<StartedEvent>(&event)) {
    ToProto(*started, proto.mutable_started());
  } else if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
    ToProto(*delta, proto.mutable_delta());
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    ToProto(*finished, proto.mutable_finished());
  } else if (const auto* usage = std::get_if<UsageEvent>(&event)) {
    proto.mutable_usage()->set_prompt_tokens(usage->prompt_tokens);
    proto.mutable_usage()->set_completion_tokens(usage->completion_tokens);
    proto.mutable_usage()->set_cached_tokens(usage->cached_tokens);
  } else {
    const absl::Status& status = std::get<FailedEvent>(event).status;
    proto.mutable_error()->set_code(static_cast<int>(status.code()));
    proto.mutable_error()->set_message(std::string(status.message()));
  }
  return proto;
}

tokenizer::v1::StreamDecodeRequest ToProto(const std::vector<DecodeItem>& items) {
  tokenizer::v1::StreamDecodeRequest proto;
  for (const DecodeItem& item : items) {
    tokenizer::v1::StreamDecodeItem* to = proto.add_items();
    to->set_pending(item.pending);
    AddIds(item.ids, to->mutable_ids());
    to->set_skip_special_tokens(item.skip_special_tokens);
    to->set_finish(item.finish);
    AddIds(item.piece_ids, to->mutable_piece_ids());
  }
  return proto;
}

std::vector<DecodeResult> FromProto(const tokenizer::v1::StreamDecodeResponse& proto) {
  std::vector<DecodeResult> results;
  results.reserve(proto.results_size());
  for (const tokenizer::v1::StreamDecodeResult& from : proto.results()) {
    DecodeResult& result = results.emplace_back();
    result.text = from.text();
    result.pending = from.pending();
    result.pieces.assign(from.pieces().begin(), from.pieces().end());
    result.text_end = Ids(from.text_end());
    result.error = from.error();
  }
  return results;
}

TokenizerInfo FromProto(const tokenizer::v1::GetInfoResponse& proto) {
  TokenizerInfo info{proto.vocab_size(), proto.hash(), Ids(proto.eos_token_ids()),
                     proto.has_chat_template(), std::nullopt};
  if (proto.has_fill_in_middle()) {
    const tokenizer::v1::FillInMiddle& ids = proto.fill_in_middle();
    info.fill_in_middle = {ids.prefix_id(), ids.suffix_id(), ids.middle_id()};
  }
  return info;
}

worker::v1::Submit ToProto(const Submission& submission) {
  worker::v1::Submit proto;
  proto.set_sequence_id(submission.sequence_id);
  proto.set_request_id(submission.request_id);
  proto.set_choice_index(submission.choice_index);
  proto.set_attempt(submission.attempt);
  AddIds(*submission.prompt_ids, proto.mutable_prompt_ids());
  AddIds(submission.output_ids, proto.mutable_output_ids());
  *proto.mutable_sampling() = ToProto(submission.sampling);
  proto.set_priority(submission.priority);
  proto.set_cache_salt(submission.cache_salt);
  proto.set_tenant(submission.tenant);
  proto.set_timeout_ms(submission.timeout_ms);
  AddIds(submission.eos_token_ids, proto.mutable_eos_token_ids());
  if (submission.structured_output) {
    *proto.mutable_structured_output() = ToProto(*submission.structured_output);
  }
  return proto;
}

std::vector<SequenceNews> FromProto(const worker::v1::StepEvents& proto) {
  std::vector<SequenceNews> all;
  all.reserve(proto.events_size());
  for (const worker::v1::SequenceEvent& from : proto.events()) {
    SequenceNews& news = all.emplace_back();
    news.sequence_id = from.sequence_id();
    news.token_ids = Ids(from.token_ids());
    news.logprobs = FromProto(from.logprobs());
    news.prompt_logprobs = FromProto(from.prompt_logprobs());
    news.finish_reason = static_cast<FinishReason>(from.finish_reason());
    if (from.has_stop_token_id()) news.stop_token_id = from.stop_token_id();
    news.cached_tokens = from.cached_tokens();
    if (from.error_code() != 0) {
      news.error =
          absl::Status(static_cast<absl::StatusCode>(from.error_code()), from.error_message());
    }
  }
  return all;
}

GroupInfo FromProto(const worker::v1::GetInfoResponse& proto) {
  GroupInfo info;
  info.build = proto.build();
  info.model_hash = proto.model_hash();
  info.numerics_id = proto.numerics_id();
  info.device = proto.device();
  info.world_size = proto.world_size();
  info.epoch = proto.epoch();
  info.max_model_len = proto.max_model_len();
  info.vocab_size = proto.vocab_size();
  info.architecture = proto.architecture();
  info.num_parameters = proto.num_parameters();
  info.eos_token_ids = Ids(proto.eos_token_ids());
  info.kv_block_tokens = proto.kv_block_tokens();
  for (const worker::v1::RankReport& rank : proto.ranks()) {
    info.ranks.push_back({rank.rank(), rank.pid(), rank.weight_bytes(), rank.kv_cache_bytes(),
                          rank.peak_rss_bytes()});
  }
  info.model_name = proto.model_name();
  return info;
}

}  // namespace quartet::gateway
