// One bidirectional stream of a gRPC server with a queue of messages to write. gRPC aborts the
// process if a second write starts before the first is done; the queue keeps them apart. To gRPC
// the messages are bytes: so one may be serialised once for many streams, from a message that the
// caller uses again and again.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "common/status_macros.h"

namespace quartet::worker_service {

inline grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes,
                                                                                 &own_buffer);
  QUARTET_CHECK(status.ok());
  return bytes;
}

// Thread-safe. Lives until OnDone: create it with std::make_shared, call Begin once, and return it
// from the service's method, which must be a raw one (Service::WithRawCallbackMethod_X). Never call
// gRPC's StartWrite or Finish directly.
template <typename Request, typename Response>
class QueuedStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public std::enable_shared_from_this<QueuedStream<Request, Response>> {
 public:
  // A peer that leaves this many messages unread is cut off.
  static constexpr size_t kMaxQueued = 8192;

  explicit QueuedStream(grpc::CallbackServerContext* context) : context_(context) {}

  void Begin() {
    self_ = this->shared_from_this();
    this->StartRead(&bytes_);
  }

  // Queues a message; dropped if the stream is closed or broken.
  void Write(const Response& response) { WriteBytes(Serialize(response)); }
  // The same with a Response that Serialize has turned into bytes; copies share them.
  void WriteBytes(grpc::ByteBuffer response) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (is_closed_) return;
      if (queue_.size() >= kMaxQueued) {
        // Reads fail now, which ends the stream.
        context_->TryCancel();
        return;
      }
      queue_.push_back(std::move(response));
      if (is_writing_) return;
      is_writing_ = true;
    }
    // Outside the lock, because gRPC may run callbacks in here. The stream can't be finished
    // meanwhile, because is_writing_ stands.
    this->StartWrite(&queue_.front());
  }

  // Ends the stream with `status` once the queue is written. The first call counts.
  void Close(const grpc::Status& status) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (is_closed_) return;
      is_closed_ = true;
      status_ = status;
      if (is_writing_) return;
    }
    this->Finish(status_);
  }

 protected:
  // A message has come. An error closes the stream with it.
  virtual grpc::Status OnMessage(const Request& request) = 0;
  // No message will come any more. Called once, from a gRPC thread.
  virtual void OnEnd() = 0;

 private:
  void OnReadDone(bool ok) final {
    if (ok) {
      const grpc::Status status =
          Parse() ? OnMessage(request_)
                  : grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the message can't be parsed");
      if (status.ok()) return this->StartRead(&bytes_);
      Close(status);
    } else {
      Close(grpc::Status::OK);
    }
    OnEnd();
  }

  void OnWriteDone(bool ok) final {
    const grpc::ByteBuffer* next = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.pop_front();
      if (!ok) queue_.clear();
      if (!queue_.empty()) {
        next = &queue_.front();
      } else {
        is_writing_ = false;
        if (!is_closed_) return;
      }
    }
    if (next != nullptr) {
      this->StartWrite(next);
    } else {
      this->Finish(status_);
    }
  }

  void OnDone() final { self_.reset(); }

  bool Parse() {
    grpc::ProtoBufferReader reader(&bytes_);
    return reader.status().ok() && request_.ParseFromZeroCopyStream(&reader);
  }

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer bytes_;  // of the message that is being read
  Request request_;
  std::shared_ptr<QueuedStream> self_;
  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> queue_;  // guarded by mutex_, but for the front, which gRPC reads
  bool is_writing_ = false;             // guarded by mutex_
  bool is_closed_ = false;              // guarded by mutex_
  grpc::Status status_;                 // set once, when is_closed_ is
};

}  // namespace quartet::worker_service
