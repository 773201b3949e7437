#include "gateway/testing/fake_services.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "gateway/proto_conversion.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway::testing {

namespace tp = tokenizer::v1;
namespace wp = worker::v1;

grpc::Status FakeTokenizerService::GetInfo(grpc::ServerContext*, const tp::GetInfoRequest*,
                                           tp::GetInfoResponse* response) {
  const TokenizerInfo info = ToyInfo();
  response->set_vocab_size(info.vocab_size);
  response->set_hash(info.hash);
  response->add_eos_token_ids(kToyEnd);
  response->set_has_chat_template(true);
  return grpc::Status::OK;
}

grpc::Status FakeTokenizerService::Encode(grpc::ServerContext*, const tp::EncodeRequest* request,
                                          tp::EncodeResponse* response) {
  for (const std::string& text : request->texts()) {
    const TokenIds ids = ToyEncode(text);
    response->add_encodings()->mutable_ids()->Add(ids.begin(), ids.end());
  }
  return grpc::Status::OK;
}

grpc::Status FakeTokenizerService::Decode(grpc::ServerContext*, const tp::DecodeRequest* request,
                                          tp::DecodeResponse* response) {
  DecodeItem item;
  item.ids.assign(request->ids().begin(), request->ids().end());
  item.skip_special_tokens = request->skip_special_tokens();
  item.finish = true;
  const DecodeResult result = ToyDecode(item);
  if (!result.error.empty()) return {grpc::StatusCode::INVALID_ARGUMENT, result.error};
  response->set_text(result.text);
  return grpc::Status::OK;
}

grpc::Status FakeTokenizerService::ApplyChatTemplate(grpc::ServerContext*,
                                                     const tp::ApplyChatTemplateRequest* request,
                                                     tp::ApplyChatTemplateResponse* response) {
  response->set_text(ToyTemplate(FromProto(request->chat())));
  const TokenIds ids = ToyEncode(response->text());
  response->mutable_ids()->Add(ids.begin(), ids.end());
  return grpc::Status::OK;
}

grpc::Status FakeTokenizerService::StreamDecode(
    grpc::ServerContext*,
    grpc::ServerReaderWriter<tp::StreamDecodeResponse, tp::StreamDecodeRequest>* stream) {
  tp::StreamDecodeRequest request;
  while (stream->Read(&request)) {
    tp::StreamDecodeResponse response;
    for (const tp::StreamDecodeItem& from : request.items()) {
      DecodeItem item{from.pending(), TokenIds(from.ids().begin(), from.ids().end()),
                      from.skip_special_tokens(), from.finish(),
                      TokenIds(from.piece_ids().begin(), from.piece_ids().end())};
      const DecodeResult result = ToyDecode(item);
      tp::StreamDecodeResult* to = response.add_results();
      to->set_text(result.text);
      to->set_pending(result.pending);
      for (const std::string& piece : result.pieces) to->add_pieces(piece);
      to->mutable_text_end()->Add(result.text_end.begin(), result.text_end.end());
      to->set_error(result.error);
    }
    if (!stream->Write(response)) break;
  }
  return grpc::Status::OK;
}

void FakeWorkerService::SetPaused(bool paused) {
  std::lock_guard<std::mutex> lock(mutex_);
  paused_ = paused;
  changed_.notify_all();
}

void FakeWorkerService::BreakAfterTokens(size_t num_tokens) {
  std::lock_guard<std::mutex> lock(mutex_);
  break_after_tokens_ = num_tokens_ + num_tokens;
}

void FakeWorkerService::FailSubmissions(grpc::StatusCode code, std::string message) {
  std::lock_guard<std::mutex> lock(mutex_);
  failure_ = grpc::Status(code, std::move(message));
}

void FakeWorkerService::SetScript(std::string script) {
  std::lock_guard<std::mutex> lock(mutex_);
  script_ = std::move(script);
}

std::vector<wp::Submit> FakeWorkerService::submissions() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return submissions_;
}

size_t FakeWorkerService::num_running() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return num_running_;
}

bool FakeWorkerService::WaitFor(
    const std::function<bool(size_t, size_t, size_t)>& condition) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(
      lock, kPatience, [&] { return condition(submissions_.size(), num_cancels_, num_running_); });
}

void FakeWorkerService::FillEvent(Sequence* sequence, wp::SequenceEvent* event) {
  const wp::Submit& submit = sequence->submit;
  event->set_sequence_id(submit.sequence_id());
  if (draining_ && !sequence->has_begun) {
    event->set_error_code(grpc::StatusCode::UNAVAILABLE);
    event->set_error_message("the worker group is draining");
    return;
  }
  sequence->has_begun = true;
  if (!failure_.ok()) {
    event->set_error_code(failure_.error_code());
    event->set_error_message(failure_.error_message());
    return;
  }
  const uint32_t place = sequence->num_output;
  const uint32_t id = script_.empty()
                          ? submit.prompt_ids(static_cast<int>(place) % submit.prompt_ids_size())
                      : place < script_.size() ? static_cast<unsigned char>(script_[place])
                                               : kToyEnd;
  if (submit.sampling().has_prompt_logprobs() && sequence->num_output == 0) {
    for (int i = 1; i < submit.prompt_ids_size(); ++i) {
      auto* token = event->add_prompt_logprobs()->mutable_token();
      token->set_token_id(submit.prompt_ids(i));
      token->set_logprob(-1);
    }
  }
  event->add_token_ids(id);
  ++num_tokens_;
  ++sequence->num_output;
  if (submit.sampling().has_logprobs()) {
    v1::PositionLogprobs* position = event->add_logprobs();
    position->mutable_token()->set_token_id(id);
    position->mutable_token()->set_logprob(-0.5);
    for (uint32_t i = 0; i < submit.sampling().logprobs(); ++i) {
      v1::TokenLogprob* top = position->add_top();
      top->set_token_id(i == 0 ? id : 'A' + i);
      top->set_logprob(-0.5f - static_cast<float>(i));
    }
  }
  if (id == kToyEnd && !submit.sampling().ignore_eos()) {
    event->set_finish_reason(v1::FINISH_REASON_STOP);
    event->set_stop_token_id(id);
  } else if (sequence->num_output >= submit.sampling().max_tokens()) {
    event->set_finish_reason(v1::FINISH_REASON_LENGTH);
  }
}

wp::AttachResponse FakeWorkerService::Step(Sequences* sequences) {
  wp::AttachResponse response;
  for (auto it = sequences->begin(); it != sequences->end();) {
    wp::SequenceEvent* event = response.mutable_step()->add_events();
    FillEvent(&it->second, event);
    const bool ended = event->finish_reason() != 0 || event->error_code() != 0;
    it = ended ? sequences->erase(it) : std::next(it);
    if (ended) --num_running_;
  }
  changed_.notify_all();
  return response;
}

void FakeWorkerService::ReadRequests(
    grpc::ServerReaderWriter<wp::AttachResponse, wp::AttachRequest>* stream, Sequences* sequences,
    bool* closed) {
  wp::AttachRequest request;
  while (stream->Read(&request)) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (request.has_submit()) {
      submissions_.push_back(request.submit());
      (*sequences)[request.submit().sequence_id()] = {
          request.submit(), static_cast<uint32_t>(request.submit().output_ids_size()), false};
      ++num_running_;
    } else if (request.has_cancel()) {
      ++num_cancels_;
      num_running_ -= sequences->erase(request.cancel().sequence_id());
    }
    changed_.notify_all();
  }
  std::lock_guard<std::mutex> lock(mutex_);
  *closed = true;
  changed_.notify_all();
}

grpc::Status FakeWorkerService::Attach(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<wp::AttachResponse, wp::AttachRequest>* stream) {
  wp::AttachRequest hello;
  if (!stream->Read(&hello)) return grpc::Status::OK;
  if (!hello.has_hello() || hello.hello().tokenizer_hash() != ToyInfo().hash) {
    return {grpc::StatusCode::FAILED_PRECONDITION, "not a gateway with the toy tokenizer"};
  }
  wp::AttachResponse answer;
  GetInfo(context, nullptr, answer.mutable_hello()->mutable_info());
  stream->Write(answer);
  Sequences sequences;  // Guarded by mutex_.
  bool closed = false;  // Guarded by mutex_.
  std::thread reader([&] { ReadRequests(stream, &sequences, &closed); });
  bool broken = false;
  bool told_draining = false;
  auto next_step = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!broken) {
    changed_.wait(lock, [&] {
      return closed || (draining_ && !told_draining) || (!paused_ && !sequences.empty());
    });
    if (closed) break;
    if (draining_ && !std::exchange(told_draining, true)) {
      wp::AttachResponse draining;
      draining.mutable_draining();
      lock.unlock();
      stream->Write(draining);
      lock.lock();
      continue;
    }
    const wp::AttachResponse step = Step(&sequences);
    broken = break_after_tokens_ != 0 && num_tokens_ >= break_after_tokens_;
    lock.unlock();
    stream->Write(step);
    next_step = std::max(next_step + step_interval_, std::chrono::steady_clock::now());
    if (step_interval_.count() > 0) std::this_thread::sleep_until(next_step);
    lock.lock();
  }
  num_running_ -= sequences.size();
  sequences.clear();
  if (broken) break_after_tokens_ = 0;
  changed_.notify_all();
  lock.unlock();
  if (broken) context->TryCancel();
  reader.join();
  return broken ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the worker died") : grpc::Status::OK;
}

grpc::Status FakeWorkerService::GetInfo(grpc::ServerContext*, const wp::GetInfoRequest*,
                                        wp::GetInfoResponse* response) {
  response->set_protocol_version(1);
  response->set_build("fake");
  response->set_model_hash("toy-model");
  response->set_numerics_id("toy-numerics");
  response->set_device("fake");
  response->set_world_size(1);
  response->set_max_model_len(max_model_len_);
  response->set_vocab_size(kToyVocabSize);
  response->set_architecture("toy");
  response->set_model_name("toy");
  response->add_ranks()->set_weight_bytes(1);
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::GetLoad(grpc::ServerContext*, const wp::GetLoadRequest*,
                                        wp::GetLoadResponse* response) {
  std::lock_guard<std::mutex> lock(mutex_);
  response->set_num_running(static_cast<uint32_t>(num_running_));
  response->set_num_kv_blocks(100);
  response->set_draining(draining_);
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::Drain(grpc::ServerContext*, const wp::DrainRequest*,
                                      wp::DrainResponse*) {
  std::lock_guard<std::mutex> lock(mutex_);
  draining_ = true;
  changed_.notify_all();
  return grpc::Status::OK;
}

}  // namespace quartet::gateway::testing
