#include "gateway/worker_client.h"

#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "common/version.h"
#include "gateway/channel.h"
#include "gateway/proto_conversion.h"

namespace quartet::gateway {
namespace {

namespace proto = worker::v1;

constexpr uint32_t kProtocolVersion = 1;
constexpr absl::Duration kFirstBackOff = absl::Milliseconds(50);
// Part of every recovery: streams wait this long at most for a group that is back. An attempt costs
// less than a millisecond of CPU time.
constexpr absl::Duration kMaxBackOff = absl::Milliseconds(250);
constexpr absl::Duration kHelloDeadline = absl::Seconds(10);
constexpr absl::Duration kPollInterval = absl::Seconds(1);
// While nothing runs on the group.
constexpr absl::Duration kIdlePollInterval = absl::Seconds(2);
constexpr absl::Duration kPollDeadline = absl::Seconds(5);
// Polls in a row without an answer after which the stream counts as dead, whatever TCP says.
constexpr int kMaxFailedPolls = 3;

// grpc.health.v1.HealthCheckResponse has one field: 1, the state, where 1 means SERVING.
bool SaysServing(const grpc::ByteBuffer& response) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!response.Dump(&slices).ok()) return false;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes == "\x08\x01";
}

}  // namespace

WorkerClient::WorkerClient(std::string address, std::string gateway_id, EventLoop* loop,
                           WorkerGroupListener* listener, Acceptor acceptor)
    : address_(std::move(address)),
      gateway_id_(std::move(gateway_id)),
      loop_(loop),
      listener_(listener),
      acceptor_(std::move(acceptor)),
      channel_(ConnectTo(address_)),
      stub_(proto::Engine::NewStub(channel_)),
      health_stub_(channel_),
      back_off_(kFirstBackOff),
      calls_(loop) {}

WorkerClient::~WorkerClient() {
  loop_->CancelTimer(hello_timer_);
  loop_->CancelTimer(reconnect_timer_);
  if (stream_ != nullptr) stream_->Cancel();
  open_streams_.WaitForNone();
}

template <class Task>
auto WorkerClient::WhileAlive(Task task) const {
  return
      [alive = std::weak_ptr<bool>(alive_), task = std::move(task)](auto&&... arguments) mutable {
        if (!alive.expired()) task(std::forward<decltype(arguments)>(arguments)...);
      };
}

void WorkerClient::SetTokenizer(const TokenizerInfo& tokenizer) {
  const bool first = !tokenizer_.has_value();
  const bool changed = !first && tokenizer_->hash != tokenizer.hash;
  tokenizer_ = tokenizer;
  if (first) return Connect();
  if (changed && stream_ != nullptr) {
    refusal_ = absl::AbortedError("the tokenizer changed; attaching anew");
    stream_->Cancel();
  }
}

void WorkerClient::SetUnwanted(std::function<void()> on_gone) {
  on_gone_ = std::move(on_gone);
  if (attached_) return;
  // What is under way is an attempt to attach.
  loop_->CancelTimer(std::exchange(reconnect_timer_, 0));
  if (stream_ != nullptr) {
    stream_->Cancel();
  } else {
    PostGone();
  }
}

void WorkerClient::SetWanted() {
  if (std::exchange(on_gone_, nullptr) == nullptr) return;
  if (tokenizer_.has_value() && stream_ == nullptr && reconnect_timer_ == 0) Connect();
}

void WorkerClient::PostGone() {
  loop_->Post(WhileAlive([this] {
    if (on_gone_ != nullptr && stream_ == nullptr) std::exchange(on_gone_, nullptr)();
  }));
}

void WorkerClient::Connect() {
  const uint64_t connection = ++connection_;
  refusal_ = absl::OkStatus();
  draining_ = false;
  open_streams_.Opened();
  AttachStream::Callbacks callbacks;
  callbacks.on_message = [this, connection](proto::AttachResponse& response) {
    if (response.has_hello()) {
      loop_->Post(WhileAlive([this, connection, hello = std::move(*response.mutable_hello())] {
        OnHello(connection, hello);
      }));
    } else if (response.has_draining()) {
      loop_->Post(WhileAlive([this, connection] {
        if (connection == connection_) SetDraining();
      }));
    } else if (response.has_step()) {
      loop_->Post(WhileAlive([this, connection, news = FromProto(response.step())]() mutable {
        if (connection == connection_ && attached_) listener_->OnStep(this, std::move(news));
      }));
    }
  };
  callbacks.on_done = [this, connection](const grpc::Status& status) {
    loop_->Post(WhileAlive([this, connection, status = common::FromGrpcStatus(status)] {
      OnStreamDone(connection, status);
    }));
    open_streams_.Closed();
  };
  stream_ = AttachStream::Open(
      [this](grpc::ClientContext* context, AttachStream* reactor) {
        stub_->async()->Attach(context, reactor);
      },
      std::move(callbacks));
  proto::AttachRequest request;
  proto::Hello* hello = request.mutable_hello();
  hello->set_protocol_version(kProtocolVersion);
  hello->set_build(common::kVersion);
  hello->set_tokenizer_hash(tokenizer_->hash);
  hello->set_tokenizer_size(tokenizer_->vocab_size);
  hello->set_gateway_id(gateway_id_);
  stream_->Write(std::move(request));
  hello_timer_ = loop_->PostAfter(kHelloDeadline, [this] {
    hello_timer_ = 0;
    refusal_ = absl::DeadlineExceededError(absl::StrCat("the worker at ", address_,
                                                        " did not answer the hello within ",
                                                        absl::FormatDuration(kHelloDeadline)));
    if (stream_ != nullptr) stream_->Cancel();
  });
}

absl::Status WorkerClient::CheckHello(const proto::GetInfoResponse& info) const {
  if (info.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the worker at ", address_, " speaks protocol version ", info.protocol_version(),
        ", this gateway speaks ", kProtocolVersion, "; run both from one release"));
  }
  if (info.vocab_size() < tokenizer_->vocab_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("the worker at ", address_, " has logits for ", info.vocab_size(),
                     " ids, but the tokenizer has ", tokenizer_->vocab_size,
                     "; start both with the same --model"));
  }
  return acceptor_(address_, FromProto(info));
}

void WorkerClient::OnHello(uint64_t connection, const proto::HelloAck& hello) {
  if (connection != connection_ || attached_) return;
  loop_->CancelTimer(std::exchange(hello_timer_, 0));
  refusal_ = CheckHello(hello.info());
  if (!refusal_.ok()) return stream_->Cancel();
  info_ = FromProto(hello.info());
  load_ = GroupLoad{0, 0, 0, hello.info().num_kv_blocks()};
  attached_ = true;
  healthy_ = true;
  draining_ |= hello.info().draining();
  failed_polls_ = 0;
  back_off_ = kFirstBackOff;
  last_error_.clear();
  common::LogInfo("worker attached", {{"address", address_},
                                      {"model", info_.model_name},
                                      {"numerics_id", info_.numerics_id},
                                      {"world_size", info_.world_size},
                                      {"epoch", info_.epoch}});
  if (info_.build != common::kVersion) {
    common::LogWarning("worker is of another build",
                       {{"worker", info_.build}, {"gateway", common::kVersion}});
  }
  listener_->OnAttached(this);
  PollLoad(connection);
  PollHealth(connection);
}

void WorkerClient::OnStreamDone(uint64_t connection, absl::Status status) {
  if (connection != connection_) return;
  loop_->CancelTimer(std::exchange(hello_timer_, 0));
  stream_.reset();
  if (!refusal_.ok()) status = refusal_;
  if (status.ok()) {
    status = absl::UnavailableError(absl::StrCat("the worker at ", address_, " closed the stream"));
  }
  const bool was_attached = std::exchange(attached_, false);
  healthy_ = false;
  // While a worker is away the same error comes back every second; saying it once is enough.
  if (was_attached || last_error_ != status.ToString()) {
    last_error_ = status.ToString();
    common::LogWarning(was_attached ? "worker lost" : "can't attach to the worker",
                       {{"address", address_}, {"error", last_error_}});
    listener_->OnDetached(this, status);
  }
  if (on_gone_ != nullptr) return PostGone();
  reconnect_timer_ = loop_->PostAfter(back_off_, [this] {
    reconnect_timer_ = 0;
    Connect();
  });
  back_off_ = std::min(back_off_ * 2, kMaxBackOff);
}

void WorkerClient::Submit(const Submission& submission) {
  if (stream_ == nullptr) return;
  proto::AttachRequest request;
  *request.mutable_submit() = ToProto(submission);
  stream_->Write(std::move(request));
}

void WorkerClient::Cancel(uint64_t sequence_id) {
  if (stream_ == nullptr) return;
  proto::AttachRequest request;
  request.mutable_cancel()->set_sequence_id(sequence_id);
  stream_->Write(std::move(request));
}

void WorkerClient::Drain(absl::AnyInvocable<void(absl::Status)> done) {
  calls_.Start<proto::DrainRequest, proto::DrainResponse>(
      {}, kPollDeadline,
      [this](auto* context, auto* request, auto* response, auto callback) {
        stub_->async()->Drain(context, request, response, std::move(callback));
      },
      [done = std::move(done)](absl::StatusOr<proto::DrainResponse> answer) mutable {
        done(answer.status());
      });
}

void WorkerClient::PollLoad(uint64_t connection) {
  calls_.Start<proto::GetLoadRequest, proto::GetLoadResponse>(
      {}, kPollDeadline,
      [this](auto* context, auto* request, auto* response, auto callback) {
        stub_->async()->GetLoad(context, request, response, std::move(callback));
      },
      WhileAlive([this, connection](absl::StatusOr<proto::GetLoadResponse> answer) {
        if (connection != connection_ || !attached_) return;
        OnLoad(std::move(answer));
        const bool idle = load_.num_running + load_.num_waiting == 0;
        loop_->PostAfter(idle ? kIdlePollInterval : kPollInterval, WhileAlive([this, connection] {
                           if (connection != connection_ || !attached_) return;
                           PollLoad(connection);
                           PollHealth(connection);
                         }));
      }));
}

void WorkerClient::OnLoad(absl::StatusOr<proto::GetLoadResponse> answer) {
  if (!answer.ok()) {
    if (++failed_polls_ < kMaxFailedPolls) return;
    refusal_ = absl::UnavailableError(absl::StrCat(
        "the worker at ", address_, " stopped answering: ", answer.status().message()));
    return stream_->Cancel();
  }
  failed_polls_ = 0;
  load_ = {answer->num_running(), answer->num_waiting(), answer->num_used_kv_blocks(),
           answer->num_kv_blocks()};
  if (answer->draining()) SetDraining();
  listener_->OnLoadChanged(this);
}

void WorkerClient::PollHealth(uint64_t connection) {
  const grpc::Slice empty("", 0);
  calls_.Start<grpc::ByteBuffer, grpc::ByteBuffer>(
      grpc::ByteBuffer(&empty, 1), kPollDeadline,
      [this](auto* context, auto* request, auto* response, auto callback) {
        health_stub_.UnaryCall(context, "/grpc.health.v1.Health/Check", grpc::StubOptions(),
                               request, response, std::move(callback));
      },
      WhileAlive([this, connection](absl::StatusOr<grpc::ByteBuffer> answer) {
        if (connection != connection_ || !attached_) return;
        // A worker without a health service says nothing; one that is too busy to answer is the
        // load poll's affair.
        if (answer.ok()) SetHealthy(SaysServing(*answer));
      }));
}

void WorkerClient::SetDraining() {
  if (std::exchange(draining_, true)) return;
  common::LogInfo("worker is draining", {{"address", address_}});
  if (attached_) listener_->OnLoadChanged(this);
}

void WorkerClient::SetHealthy(bool healthy) {
  if (healthy == healthy_) return;
  healthy_ = healthy;
  common::LogWarning(healthy ? "worker is healthy again" : "worker says it is not serving",
                     {{"address", address_}});
  listener_->OnLoadChanged(this);
}

}  // namespace quartet::gateway
