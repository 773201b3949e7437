// The client's end of a bidirectional gRPC stream on the callback API: a write queue, one read at a
// time, one word at the end.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace quartet::gateway {

// Counts a client's open streams, so that it can wait for their callbacks before it goes.
// Thread-safe.
class OpenStreams {
 public:
  void Opened() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++count_;
  }
  void Closed() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) none_left_.notify_all();
  }
  void WaitForNone() {
    std::unique_lock<std::mutex> lock(mutex_);
    none_left_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_left_;
  int count_ = 0;  // Guarded by mutex_.
};

// Write and Cancel may be called from any thread. Keeps itself alive until the stream has ended.
template <class Request, class Response>
class ClientStream final : public grpc::ClientBidiReactor<Request, Response> {
 public:
  struct Callbacks {
    // A message came. Called on gRPC's threads, one message after the other; the message's memory
    // is used again for the next.
    std::function<void(Response&)> on_message;
    // The stream has ended; the last call.
    std::function<void(const grpc::Status&)> on_done;
  };

  // `open` starts the call: open(context, reactor). Neither callback is called inside Open.
  template <class OpenCall>
  static std::shared_ptr<ClientStream> Open(OpenCall&& open, Callbacks callbacks) {
    std::shared_ptr<ClientStream> stream(new ClientStream(std::move(callbacks)));
    stream->self_ = stream;
    open(&stream->context_, stream.get());
    stream->StartRead(&stream->response_);
    stream->StartCall();
    return stream;
  }

  // Dropped if the stream has ended.
  void Write(Request request) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(request));
    // One write at a time is all that the callback API allows.
    if (queue_.size() == 1) this->StartWrite(&queue_.front());
  }
  void Cancel() { context_.TryCancel(); }

 private:
  explicit ClientStream(Callbacks callbacks) : callbacks_(std::move(callbacks)) {}

  void OnReadDone(bool ok) override {
    if (!ok) {
      // No write may start once no operation is outstanding, so the end of reading is the end of
      // writing.
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
      return;
    }
    callbacks_.on_message(response_);
    this->StartRead(&response_);
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ok) closed_ = true;
    queue_.pop_front();
    if (!closed_ && !queue_.empty()) this->StartWrite(&queue_.front());
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<ClientStream> self = std::move(self_);
    callbacks_.on_done(status);
  }

  const Callbacks callbacks_;
  grpc::ClientContext context_;
  Response response_;
  std::shared_ptr<ClientStream> self_;
  std::mutex mutex_;
  std::deque<Request> queue_;  // Guarded by mutex_; the front is being written.
  bool closed_ = false;        // Guarded by mutex_.
};

}  // namespace quartet::gateway
