// The tokenizer service and a worker group as real gRPC peers, in this process. The tokenizer
// speaks the toy vocabulary; the worker's "model" repeats its prompt for ever, so every answer can
// be told from its prompt, resumed or not.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/server_runner.h"
#include "quartet/tokenizer/v1/tokenizer.grpc.pb.h"
#include "quartet/worker/v1/worker.grpc.pb.h"

namespace quartet::gateway::testing {

// Thread-safe.
class FakeTokenizerService : public tokenizer::v1::Tokenizer::Service {
 public:
  grpc::Status GetInfo(grpc::ServerContext* context, const tokenizer::v1::GetInfoRequest* request,
                       tokenizer::v1::GetInfoResponse* response) override;
  grpc::Status Encode(grpc::ServerContext* context, const tokenizer::v1::EncodeRequest* request,
                      tokenizer::v1::EncodeResponse* response) override;
  grpc::Status Decode(grpc::ServerContext* context, const tokenizer::v1::DecodeRequest* request,
                      tokenizer::v1::DecodeResponse* response) override;
  grpc::Status ApplyChatTemplate(grpc::ServerContext* context,
                                 const tokenizer::v1::ApplyChatTemplateRequest* request,
                                 tokenizer::v1::ApplyChatTemplateResponse* response) override;
  grpc::Status StreamDecode(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<tokenizer::v1::StreamDecodeResponse,
                               tokenizer::v1::StreamDecodeRequest>* stream) override;
};

// Thread-safe. One step makes one token for every sequence. A sequence ends at max_tokens, or with
// kToyEnd if its prompt has one.
class FakeWorkerService : public worker::v1::Engine::Service {
 public:
  // Steps are made as fast as they can be written, unless paused.
  void SetPaused(bool paused);
  // Once this many tokens have been written, all streams break; then counting starts over without a
  // limit.
  void BreakAfterTokens(size_t num_tokens);
  // What the next submissions are answered with instead of tokens.
  void FailSubmissions(grpc::StatusCode code, std::string message);
  // What all answers say from now on, in the place of their prompts. Empty: their prompts again.
  void SetScript(std::string script);
  void SetMaxModelLen(uint32_t tokens) { max_model_len_ = tokens; }
  // Between steps; 0 means as fast as they can be written.
  void SetStepInterval(std::chrono::microseconds interval) { step_interval_ = interval; }

  std::vector<worker::v1::Submit> submissions() const;
  size_t num_running() const;
  // Waits until `condition` holds for (submissions so far, cancels so far, running sequences);
  // false after kPatience.
  bool WaitFor(const std::function<bool(size_t, size_t, size_t)>& condition) const;

  grpc::Status Attach(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<worker::v1::AttachResponse,
                                               worker::v1::AttachRequest>* stream) override;
  grpc::Status GetInfo(grpc::ServerContext* context, const worker::v1::GetInfoRequest* request,
                       worker::v1::GetInfoResponse* response) override;
  grpc::Status GetLoad(grpc::ServerContext* context, const worker::v1::GetLoadRequest* request,
                       worker::v1::GetLoadResponse* response) override;
  // All streams hear of it; submissions are refused from then on.
  grpc::Status Drain(grpc::ServerContext* context, const worker::v1::DrainRequest* request,
                     worker::v1::DrainResponse* response) override;

 private:
  struct Sequence {
    worker::v1::Submit submit;
    uint32_t num_output = 0;
    bool has_begun = false;
  };
  using Sequences = std::map<uint64_t, Sequence>;
  // One step of one stream's sequences.
  worker::v1::AttachResponse Step(Sequences* sequences);
  void FillEvent(Sequence* sequence, worker::v1::SequenceEvent* event);
  void ReadRequests(
      grpc::ServerReaderWriter<worker::v1::AttachResponse, worker::v1::AttachRequest>* stream,
      Sequences* sequences, bool* closed);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<worker::v1::Submit> submissions_;  // Guarded by mutex_, like all below.
  size_t num_cancels_ = 0;
  size_t num_running_ = 0;
  size_t num_tokens_ = 0;
  size_t break_after_tokens_ = 0;
  bool paused_ = false;
  bool draining_ = false;
  grpc::Status failure_;
  std::string script_;
  uint32_t max_model_len_ = 100'000;
  std::chrono::microseconds step_interval_{0};  // Set before anything runs.
};

}  // namespace quartet::gateway::testing
