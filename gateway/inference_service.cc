#include "gateway/inference_service.h"

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/proto_conversion.h"
#include "gateway/rpc_status.h"
#include "gateway/tenant.h"

namespace quartet::gateway {
namespace {

// What may wait for a client that reads slowly. Beyond it the request ends.
constexpr size_t kMaxQueuedBytes = 16 << 20;

// One Generate call. The generation holds it as its sink; gRPC holds it through `self_` until
// OnDone.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateEvent>,
                           public GenerationSink {
 public:
  static GenerateCall* Start(Gateway* gateway, GenerationRequest request) {
    auto call = std::make_shared<GenerateCall>(gateway);
    call->self_ = call;
    const absl::StatusOr<Gateway::RequestHandle> handle =
        gateway->Generate(std::move(request), call);
    std::unique_lock<std::mutex> lock(call->mutex_);
    if (!handle.ok()) {
      call->FinishLocked(handle.status());
    } else {
      call->handle_ = *handle;
      // The client may have gone before there was a handle to cancel.
      if (call->cancelled_) gateway->Cancel(*handle);
    }
    return call.get();
  }

  explicit GenerateCall(Gateway* gateway) : gateway_(gateway) {}

  void OnEvent(GenerationEvent event) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (finishing_) return;
    const auto* failed = std::get_if<FailedEvent>(&event);
    // Before the first event an error is a status alone.
    if (failed != nullptr && sequence_number_ == 0) return FinishLocked(failed->status);
    if (failed != nullptr) final_status_ = failed->status;
    v1::GenerateEvent message = ToProto(event);
    message.set_sequence_number(++sequence_number_);
    const bool last = failed != nullptr || std::holds_alternative<UsageEvent>(event);
    queued_bytes_ += message.ByteSizeLong();
    queue_.push_back(std::move(message));
    if (queue_.size() == 1) StartWrite(&queue_.front());
    if (last) {
      ended_ = true;
    } else if (queued_bytes_ > kMaxQueuedBytes) {
      gateway_->Cancel(handle_);
      FinishLocked(absl::ResourceExhaustedError(
          absl::StrCat("the client reads too slowly: ", queued_bytes_, " bytes wait for it")));
    }
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (finishing_) return;
    queued_bytes_ -= queue_.front().ByteSizeLong();
    queue_.pop_front();
    if (!ok) {
      FinishLocked(absl::CancelledError("the client is gone"));
    } else if (!queue_.empty()) {
      StartWrite(&queue_.front());
    } else if (ended_) {
      FinishLocked(final_status_);
    }
  }

  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    if (handle_ != 0) gateway_->Cancel(handle_);
    FinishLocked(absl::CancelledError("the client cancelled the call"));
  }

  void OnDone() override { const std::shared_ptr<GenerateCall> self = std::move(self_); }

 private:
  // Finish may overtake a write that is under way, whose message stays in queue_ until the call is
  // destroyed; a client that does not read may put that off for long, so the rest goes now.
  void FinishLocked(const absl::Status& status) {
    if (std::exchange(finishing_, true)) return;
    while (queue_.size() > 1) queue_.pop_back();
    Finish(ToRpcStatus(status));
  }

  Gateway* const gateway_;
  std::shared_ptr<GenerateCall> self_;
  std::mutex mutex_;
  Gateway::RequestHandle handle_ = 0;    // Guarded by mutex_, like all below.
  std::deque<v1::GenerateEvent> queue_;  // The front is being written.
  size_t queued_bytes_ = 0;
  uint64_t sequence_number_ = 0;
  absl::Status final_status_;
  bool cancelled_ = false;
  bool ended_ = false;      // The last event is in queue_.
  bool finishing_ = false;  // Finish was called.
};

absl::string_view Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return "";
  return absl::string_view(found->second.data(), found->second.size());
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateEvent>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  GenerationRequest plain = FromProto(*request);
  if (plain.tenant.empty()) {
    plain.tenant = TenantOf(Metadata(*context, "x-tenant"), Metadata(*context, "authorization"));
  }
  const auto deadline = context->deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) {
    plain.timeout = absl::FromChrono(deadline - std::chrono::system_clock::now());
  }
  return GenerateCall::Start(gateway_, std::move(plain));
}

}  // namespace quartet::gateway
