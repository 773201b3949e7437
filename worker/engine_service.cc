#include "worker/engine_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/queued_stream.h"
#include "worker/structured_submissions.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {

namespace proto = worker::v1;

namespace {

constexpr int kMaxKeptBytes = 1 << 20;

}  // namespace

// One gateway.
class AttachStream final : public QueuedStream<proto::AttachRequest, proto::AttachResponse> {
 public:
  AttachStream(EngineService* service, uint64_t client_id, grpc::CallbackServerContext* context)
      : QueuedStream(context),
        service_(service),
        client_id_(client_id),
        structured_(std::make_shared<StructuredSubmissions>(service->compiler_)) {}

  uint64_t client_id() const { return client_id_; }
  // What the gateway said; constant once it is attached.
  const proto::Hello& hello() const { return hello_; }
  // Called once, before it is attached.
  void SetServing(std::shared_ptr<const EngineService::Serving> serving) {
    serving_ = std::move(serving);
  }

  void WriteDraining() {
    proto::AttachResponse response;
    response.mutable_draining();
    Write(response);
  }

 private:
  grpc::Status OnMessage(const proto::AttachRequest& request) override {
    return common::ToGrpcStatus(Handle(request));
  }

  absl::Status Handle(const proto::AttachRequest& request) {
    if (request.has_hello() == is_attached_) {
      return absl::InvalidArgumentError(is_attached_ ? "a second hello on one stream"
                                                     : "the first message must be a hello");
    }
    if (request.has_hello()) {
      hello_ = request.hello();
      RETURN_IF_ERROR(service_->AcceptHello(
          hello_, std::static_pointer_cast<AttachStream>(shared_from_this())));
      is_attached_ = true;
    } else if (request.has_submit()) {
      return Submit(request.submit());
    } else if (request.has_cancel()) {
      const uint64_t sequence_id = request.cancel().sequence_id();
      if (!structured_->Cancel(sequence_id)) serving_->engine->Cancel({client_id_, sequence_id});
    }
    return absl::OkStatus();
  }

  // An error ends the stream: the engine has failed, and another may come.
  absl::Status Submit(const proto::Submit& submit) {
    absl::Status status = TrySubmit(submit);
    common::LogDebug("sequence submitted", {{"request_id", submit.request_id()},
                                            {"gateway", hello_.gateway_id()},
                                            {"choice", submit.choice_index()},
                                            {"attempt", submit.attempt()},
                                            {"prompt_tokens", submit.prompt_ids_size()},
                                            {"output_tokens", submit.output_ids_size()},
                                            {"status", status.ToString()}});
    if (status.ok()) return status;
    if (absl::IsUnavailable(status) && !service_->is_draining_) return status;
    WriteError(submit.sequence_id(), std::move(status));
    return absl::OkStatus();
  }

  void WriteError(uint64_t sequence_id, absl::Status status) {
    // A gateway takes UNAVAILABLE for the end of the group unless it knows that the group drains,
    // and the news of that, sent to all, may still be behind.
    if (service_->is_draining_) WriteDraining();
    engine::SequenceEvent event;
    event.sequence_id = sequence_id;
    event.error = std::move(status);
    proto::AttachResponse response;
    response.mutable_step()->set_step(serving_->engine->load().num_steps);
    ToProto(event, response.mutable_step()->add_events());
    Write(response);
  }

  absl::Status TrySubmit(const proto::Submit& submit) {
    if (service_->is_draining_) {
      return absl::UnavailableError("the worker group is draining: it takes no new sequences");
    }
    ASSIGN_OR_RETURN(engine::SequenceRequest request,
                     ToSequenceRequest(submit, serving_->default_sampling));
    request.key.client_id = client_id_;
    request.sample_limit = static_cast<int32_t>(hello_.tokenizer_size());
    if (!submit.has_structured_output()) return serving_->engine->Submit(std::move(request));
    return SubmitStructured(submit, std::move(request));
  }

  absl::Status SubmitStructured(const proto::Submit& submit, engine::SequenceRequest request) {
    if (service_->compiler_ == nullptr) return service_->why_no_grammars_;
    RETURN_IF_ERROR(serving_->engine->Check(request));
    ASSIGN_OR_RETURN(const grammar::OutputFormat format,
                     ToOutputFormat(submit.structured_output()));
    const uint64_t sequence_id = submit.sequence_id();
    std::weak_ptr<QueuedStream> weak = weak_from_this();
    return structured_->Add(std::move(request), format, hello_.tokenizer_hash(),
                            [weak, sequence_id](absl::StatusOr<engine::SequenceRequest> ready) {
                              const std::shared_ptr<QueuedStream> stream = weak.lock();
                              if (stream == nullptr) return;
                              static_cast<AttachStream&>(*stream).OnStructuredReady(
                                  sequence_id, std::move(ready));
                            });
  }

  // From any thread.
  void OnStructuredReady(uint64_t sequence_id, absl::StatusOr<engine::SequenceRequest> ready) {
    absl::Status status = ready.status();
    if (ready.ok()) status = serving_->engine->Submit(*std::move(ready));
    if (status.ok()) return;
    // The group is over: the stream ends with that, and the gateway submits again elsewhere.
    if (absl::IsUnavailable(status) && !service_->is_draining_) {
      Close(common::ToGrpcStatus(status));
      return;
    }
    WriteError(sequence_id, std::move(status));
  }

  void OnEnd() override {
    structured_->End();
    if (is_attached_) service_->Detach(client_id_, serving_->engine.get());
  }

  EngineService* const service_;
  const uint64_t client_id_;
  proto::Hello hello_;
  std::shared_ptr<const EngineService::Serving> serving_;
  const std::shared_ptr<StructuredSubmissions> structured_;
  bool is_attached_ = false;  // gRPC calls OnMessage and OnEnd one after the other
};

EngineService::~EngineService() = default;

void EngineService::Open(std::shared_ptr<engine::Engine> engine,
                         std::function<proto::GetInfoResponse()> info) {
  auto serving = std::make_shared<Serving>();
  serving->engine = std::move(engine);
  serving->default_sampling = info().default_sampling();
  serving->info = std::move(info);
  std::lock_guard<std::mutex> lock(mutex_);
  serving_ = std::move(serving);
  state_ = absl::OkStatus();
}

void EngineService::Close(const absl::Status& why) {
  std::map<uint64_t, std::shared_ptr<AttachStream>> streams;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    state_ = why;
    serving_ = nullptr;
    streams.swap(streams_);
  }
  for (const auto& [id, stream] : streams) stream->Close(common::ToGrpcStatus(why));
}

void EngineService::Deliver(uint64_t client_id, uint64_t step,
                            std::vector<engine::SequenceEvent> events) {
  std::shared_ptr<AttachStream> stream;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = streams_.find(client_id);
    if (it == streams_.end()) return;
    stream = it->second;
  }
  proto::StepEvents& message = *events_.mutable_step();
  message.Clear();
  message.set_step(step);
  for (const engine::SequenceEvent& event : events) ToProto(event, message.add_events());
  stream->Write(events_);
  // Prompt log-probabilities of a long prompt are not worth keeping memory for.
  if (events_.GetCachedSize() > kMaxKeptBytes) events_ = proto::AttachResponse();
}

proto::GetInfoResponse EngineService::Info(const Serving& serving) const {
  proto::GetInfoResponse info = serving.info();
  info.set_draining(is_draining_);
  return info;
}

absl::StatusOr<std::shared_ptr<const EngineService::Serving>> EngineService::serving() {
  std::lock_guard<std::mutex> lock(mutex_);
  RETURN_IF_ERROR(state_);
  return serving_;
}

absl::Status EngineService::AcceptHello(const proto::Hello& hello,
                                        const std::shared_ptr<AttachStream>& stream) {
  if (hello.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "gateway ", hello.gateway_id(), " (build ", hello.build(), ") speaks protocol version ",
        hello.protocol_version(), ", this worker (build ", common::kVersion, ") speaks ",
        kProtocolVersion, "; run both from one release"));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const Serving> serving, this->serving());
  proto::AttachResponse response;
  *response.mutable_hello()->mutable_info() = Info(*serving);
  const uint32_t vocab_size = response.hello().info().vocab_size();
  if (hello.tokenizer_size() == 0 || hello.tokenizer_size() > vocab_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("gateway ", hello.gateway_id(), "'s tokenizer has ", hello.tokenizer_size(),
                     " ids, this worker's model has logits for ", vocab_size,
                     "; start tokenizer and worker with the same --model"));
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    RETURN_IF_ERROR(state_);
    if (serving != serving_) return absl::UnavailableError("the worker group has just formed anew");
    for (const auto& [id, other] : streams_) {
      const proto::Hello& theirs = other->hello();
      if (theirs.tokenizer_hash() == hello.tokenizer_hash() &&
          theirs.tokenizer_size() == hello.tokenizer_size()) {
        continue;
      }
      return absl::FailedPreconditionError(absl::StrCat(
          "gateway ", hello.gateway_id(), " uses tokenizer ", hello.tokenizer_hash(), " of ",
          hello.tokenizer_size(), " ids, gateway ", theirs.gateway_id(),
          ", which is attached, uses ", theirs.tokenizer_hash(), " of ", theirs.tokenizer_size()));
    }
    stream->SetServing(std::move(serving));
    streams_[stream->client_id()] = stream;
    // Drain tells those that it finds in streams_.
    response.mutable_hello()->mutable_info()->set_draining(is_draining_);
  }
  // Nothing can be on its way before this, because nothing has been submitted.
  stream->Write(response);
  common::LogInfo("gateway attached",
                  {{"gateway", hello.gateway_id()}, {"client", stream->client_id()}});
  if (hello.build() != common::kVersion) {
    common::LogWarning("gateway is of another build",
                       {{"gateway", hello.build()}, {"worker", common::kVersion}});
  }
  return absl::OkStatus();
}

void EngineService::Detach(uint64_t client_id, engine::Engine* engine) {
  engine->Detach(client_id);
  std::shared_ptr<AttachStream> stream;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = streams_.find(client_id);
    if (it == streams_.end()) return;
    stream = it->second;
    streams_.erase(it);
  }
  common::LogInfo("gateway detached; its sequences are freed",
                  {{"gateway", stream->hello().gateway_id()}, {"client", client_id}});
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EngineService::Attach(
    grpc::CallbackServerContext* context) {
  uint64_t client_id;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    client_id = next_client_id_++;
  }
  const auto stream = std::make_shared<AttachStream>(this, client_id, context);
  stream->Begin();
  return stream.get();
}

grpc::ServerUnaryReactor* EngineService::GetInfo(grpc::CallbackServerContext* context,
                                                 const proto::GetInfoRequest* request,
                                                 proto::GetInfoResponse* response) {
  const auto serving = this->serving();
  if (serving.ok()) *response = Info(**serving);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(common::ToGrpcStatus(serving.status()));
  return reactor;
}

grpc::ServerUnaryReactor* EngineService::GetLoad(grpc::CallbackServerContext* context,
                                                 const proto::GetLoadRequest* request,
                                                 proto::GetLoadResponse* response) {
  const auto serving = this->serving();
  if (serving.ok()) {
    const engine::EngineLoad load = (*serving)->engine->load();
    response->set_num_running(static_cast<uint32_t>(load.num_running));
    response->set_num_waiting(static_cast<uint32_t>(load.num_waiting));
    response->set_num_used_kv_blocks(static_cast<uint32_t>(load.num_used_blocks));
    response->set_num_kv_blocks(static_cast<uint32_t>(load.num_blocks));
    response->set_num_steps(load.num_steps);
    response->set_num_partial_prompts(static_cast<uint32_t>(load.num_partial_prompts));
    response->set_draining(is_draining_);
    response->set_num_waiting_tokens(static_cast<uint64_t>(load.num_waiting_tokens));
    response->set_num_cached_kv_blocks(static_cast<uint32_t>(load.num_cached_blocks));
    response->set_num_preemptions(load.counters.num_preemptions);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(common::ToGrpcStatus(serving.status()));
  return reactor;
}

grpc::ServerUnaryReactor* EngineService::Drain(grpc::CallbackServerContext* context,
                                               const proto::DrainRequest* request,
                                               proto::DrainResponse* response) {
  const auto serving = this->serving();
  if (serving.ok() && !is_draining_.exchange(true)) {
    std::map<uint64_t, std::shared_ptr<AttachStream>> streams;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      streams = streams_;
    }
    // Who attaches from here on reads it in the hello.
    for (const auto& [id, stream] : streams) stream->WriteDraining();
    common::LogInfo("draining: no new sequences are taken", {{"gateways", streams.size()}});
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(common::ToGrpcStatus(serving.status()));
  return reactor;
}

}  // namespace quartet::worker_service
