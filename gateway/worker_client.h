// One worker group over gRPC: attaches to its leader, attaches again when the stream breaks, and
// watches its load and health.
#pragma once

#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "gateway/client_stream.h"
#include "gateway/event_loop.h"
#include "gateway/tokenizer.h"
#include "gateway/unary_calls.h"
#include "gateway/worker_group.h"
#include "quartet/worker/v1/worker.grpc.pb.h"

namespace quartet::gateway {

// Used on the gateway's loop only, but for construction; destroyed there, or after the loop has
// stopped.
class WorkerClient : public WorkerGroup {
 public:
  // Whether a group that said hello may serve here; an error is logged and the group is asked again
  // later.
  using Acceptor = std::function<absl::Status(const std::string& address, const GroupInfo& info)>;

  WorkerClient(std::string address, std::string gateway_id, EventLoop* loop,
               WorkerGroupListener* listener, Acceptor acceptor);
  ~WorkerClient() override;

  // Attaches as a gateway with this tokenizer; a changed one attaches anew. Nothing is tried before
  // the first call.
  void SetTokenizer(const TokenizerInfo& tokenizer);

  // An unwanted group is not attached to any more once its present stream has ended; `on_gone` is
  // called in a task of its own when there is no stream left.
  void SetUnwanted(std::function<void()> on_gone);
  // Takes that back.
  void SetWanted();

  bool attached() const { return attached_; }
  const std::string& address() const override { return address_; }
  const GroupInfo& info() const override { return info_; }
  const GroupLoad& load() const override { return load_; }
  bool healthy() const override { return healthy_; }
  bool draining() const override { return draining_; }
  void Submit(const Submission& submission) override;
  void Cancel(uint64_t sequence_id) override;
  void Drain(absl::AnyInvocable<void(absl::Status)> done) override;

 private:
  using AttachStream = ClientStream<worker::v1::AttachRequest, worker::v1::AttachResponse>;
  void Connect();
  // A task that does nothing once this client is gone.
  template <class Task>
  auto WhileAlive(Task task) const;
  void OnHello(uint64_t connection, const worker::v1::HelloAck& hello);
  void OnStreamDone(uint64_t connection, absl::Status status);
  absl::Status CheckHello(const worker::v1::GetInfoResponse& info) const;
  void PollLoad(uint64_t connection);
  void PollHealth(uint64_t connection);
  void OnLoad(absl::StatusOr<worker::v1::GetLoadResponse> answer);
  void SetHealthy(bool healthy);
  void SetDraining();
  void PostGone();

  const std::string address_;
  const std::string gateway_id_;
  EventLoop* const loop_;
  WorkerGroupListener* const listener_;
  const Acceptor acceptor_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<worker::v1::Engine::Stub> stub_;
  grpc::GenericStub health_stub_;

  std::optional<TokenizerInfo> tokenizer_;
  std::shared_ptr<AttachStream> stream_;
  uint64_t connection_ =
      0;  // Number of the present stream: tells its news from that of earlier ones.
  bool attached_ = false;
  bool healthy_ = false;
  bool draining_ = false;
  std::function<void()> on_gone_;  // Set while unwanted.
  uint64_t reconnect_timer_ = 0;
  absl::Status refusal_;  // Why this side ended the stream, if it did.
  std::string last_error_;
  absl::Duration back_off_;
  uint64_t hello_timer_ = 0;
  int failed_polls_ = 0;
  GroupInfo info_;
  GroupLoad load_;
  OpenStreams open_streams_;
  UnaryCalls calls_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quartet::gateway
