// Gets the vocabulary that grammars need from the tokenizer service, and notices if another one
// serves there later.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quartet/tokenizer/v1/tokenizer.grpc.pb.h"
#include "worker/grammar/grammar.h"

namespace quartet::worker_service {

struct VocabularyClientOptions {
  std::string address;  // of the tokenizer service
  absl::Duration retry_interval = absl::Seconds(1);
  // How long it may be out of reach at first before the listener is told why there is none.
  absl::Duration patience = absl::Seconds(30);
  // How often it is asked whether it still is the same.
  absl::Duration check_interval = absl::Seconds(15);
};

// Works in a thread of its own from construction to destruction.
class VocabularyClient {
 public:
  // Hears each new vocabulary, and once why there is none yet.
  using Listener = std::function<void(absl::StatusOr<grammar::Vocabulary>)>;

  VocabularyClient(const VocabularyClientOptions& options, Listener listener);
  ~VocabularyClient();

 private:
  void Loop();
  // What the service says of what it has now.
  absl::StatusOr<tokenizer::v1::GetInfoResponse> AskInfo();
  absl::StatusOr<grammar::Vocabulary> Fetch(const tokenizer::v1::GetInfoResponse& info);
  std::unique_ptr<grpc::ClientContext> NewContext(absl::Duration timeout);

  const VocabularyClientOptions options_;
  const Listener listener_;
  const std::unique_ptr<tokenizer::v1::Tokenizer::Stub> stub_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool is_stopping_ = false;
  grpc::ClientContext* call_ = nullptr;  // that runs now

  std::thread thread_;
};

}  // namespace quartet::worker_service
