// The leader's gRPC face towards gateways: Attach, GetInfo, GetLoad, Drain. A thin shell around the
// engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "quartet/worker/v1/worker.grpc.pb.h"
#include "worker/engine/engine.h"
#include "worker/grammar/grammar_compiler.h"

namespace quartet::worker_service {

inline constexpr uint32_t kProtocolVersion = 1;

class AttachStream;

// Attach is raw: see queued_stream.h.
using EngineServiceBase = worker::v1::Engine::WithRawCallbackMethod_Attach<
    worker::v1::Engine::WithCallbackMethod_GetInfo<worker::v1::Engine::WithCallbackMethod_GetLoad<
        worker::v1::Engine::WithCallbackMethod_Drain<worker::v1::Engine::Service>>>>;

// Thread-safe. Calls are refused with UNAVAILABLE until Open.
class EngineService final : public EngineServiceBase {
 public:
  EngineService() = default;
  ~EngineService() override;

  // `compiler` makes structured output possible and must outlive the service; if it is null, such
  // requests are refused with `why`. Before the first stream.
  void SetGrammars(grammar::GrammarCompiler* compiler, absl::Status why) {
    compiler_ = compiler;
    why_no_grammars_ = std::move(why);
  }

  // Serves `engine` from now on; `info` is asked for the facts whenever a gateway wants them, from
  // any thread. Streams keep their engine until they have ended, so a later engine, after Close,
  // never sees what was meant for an earlier one.
  void Open(std::shared_ptr<engine::Engine> engine,
            std::function<worker::v1::GetInfoResponse()> info);
  // Ends all streams with `why` after what is queued for them, and refuses new ones with it.
  void Close(const absl::Status& why);

  // The engine's on_events. One thread.
  void Deliver(uint64_t client_id, uint64_t step, std::vector<engine::SequenceEvent> events);

 private:
  friend class AttachStream;

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Attach(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context,
                                    const worker::v1::GetInfoRequest* request,
                                    worker::v1::GetInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const worker::v1::GetLoadRequest* request,
                                    worker::v1::GetLoadResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const worker::v1::DrainRequest* request,
                                  worker::v1::DrainResponse* response) override;

  // From an Open to the next Close.
  struct Serving {
    std::shared_ptr<engine::Engine> engine;
    std::function<worker::v1::GetInfoResponse()> info;
    quartet::v1::SamplingParams default_sampling;
  };

  // What a gateway is told of the group.
  worker::v1::GetInfoResponse Info(const Serving& serving) const;
  // What is served now, or why nothing is.
  absl::StatusOr<std::shared_ptr<const Serving>> serving();
  // Compares both sides; the first gateway's tokenizer is everybody's as long as any is attached.
  absl::Status AcceptHello(const worker::v1::Hello& hello,
                           const std::shared_ptr<AttachStream>& stream);
  void Detach(uint64_t client_id, engine::Engine* engine);

  grammar::GrammarCompiler* compiler_ = nullptr;
  absl::Status why_no_grammars_ = absl::UnimplementedError("structured_output: not available");
  std::atomic<bool> is_draining_{false};  // set once, by Drain

  // Deliver's own: a message that is used again needs no memory.
  worker::v1::AttachResponse events_;

  std::mutex mutex_;                        // guards all below
  std::shared_ptr<const Serving> serving_;  // null unless state_ is OK
  absl::Status state_ = absl::UnavailableError(
      "the worker group is not ready yet: it is still loading the model or waiting for ranks");
  uint64_t next_client_id_ = 1;
  std::map<uint64_t, std::shared_ptr<AttachStream>> streams_;  // attached ones, by client
};

}  // namespace quartet::worker_service
