// Unary gRPC calls of one client: each has a deadline, ends on the gateway's loop, and none
// outlives the client.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/grpc_status.h"
#include "gateway/event_loop.h"

namespace quartet::gateway {

// Thread-safe. The destructor cancels what runs and waits for it.
class UnaryCalls {
 public:
  explicit UnaryCalls(EventLoop* loop) : loop_(loop) {}
  ~UnaryCalls() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (grpc::ClientContext* context : running_) context->TryCancel();
    none_left_.wait(lock, [this] { return running_.empty(); });
  }

  // `start` makes the call: start(context, request, response, callback). `done` is called on the
  // loop, never inside Start.
  template <class Request, class Response, class StartCall>
  void Start(Request request, absl::Duration deadline, StartCall&& start,
             absl::AnyInvocable<void(absl::StatusOr<Response>)> done) {
    struct Call {
      grpc::ClientContext context;
      Request request;
      Response response;
      absl::AnyInvocable<void(absl::StatusOr<Response>)> done;
    };
    auto call = std::make_shared<Call>();
    call->request = std::move(request);
    call->done = std::move(done);
    call->context.set_deadline(std::chrono::system_clock::now() +
                               absl::ToChronoMilliseconds(deadline));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      running_.insert(&call->context);
    }
    start(&call->context, &call->request, &call->response,
          std::function<void(grpc::Status)>([this, call](grpc::Status status) {
            loop_->Post([call, status] {
              if (status.ok()) {
                call->done(std::move(call->response));
              } else {
                call->done(common::FromGrpcStatus(status));
              }
            });
            std::lock_guard<std::mutex> lock(mutex_);
            running_.erase(&call->context);
            if (running_.empty()) none_left_.notify_all();
          }));
  }

 private:
  EventLoop* const loop_;
  std::mutex mutex_;
  std::condition_variable none_left_;
  std::set<grpc::ClientContext*> running_;  // Guarded by mutex_.
};

}  // namespace quartet::gateway
