#include "worker/vocabulary_client.h"

#include <grpcpp/create_channel.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::worker_service {

namespace proto = tokenizer::v1;

namespace {

constexpr absl::Duration kAskTimeout = absl::Seconds(5);
constexpr absl::Duration kFetchTimeout = absl::Seconds(60);
constexpr size_t kMaxTokens = size_t{1} << 22;

}  // namespace

VocabularyClient::VocabularyClient(const VocabularyClientOptions& options, Listener listener)
    : options_(options),
      listener_(std::move(listener)),
      stub_(proto::Tokenizer::NewStub(
          grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials()))),
      thread_([this] { Loop(); }) {}

VocabularyClient::~VocabularyClient() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
    if (call_ != nullptr) call_->TryCancel();
  }
  changed_.notify_all();
  thread_.join();
}

void VocabularyClient::Loop() {
  const absl::Time start = absl::Now();
  std::string hash;
  bool has_told = false;
  while (true) {
    absl::Status status = absl::OkStatus();
    const absl::StatusOr<proto::GetInfoResponse> offered = AskInfo();
    if (!offered.ok()) {
      status = offered.status();
    } else if (offered->hash() != hash) {
      absl::StatusOr<grammar::Vocabulary> vocabulary = Fetch(*offered);
      status = vocabulary.status();
      if (vocabulary.ok()) {
        hash = vocabulary->hash;
        has_told = true;
        listener_(std::move(vocabulary));
      }
    }
    if (!status.ok() && !has_told && absl::Now() - start > options_.patience) {
      has_told = true;
      common::LogWarning("no vocabulary for grammars", {{"why", status.message()}});
      listener_(absl::InternalError(
          absl::StrCat("structured_output: the tokenizer service at ", options_.address,
                       " (--tokenizer_address) gave no vocabulary: ", status.message())));
    }
    std::unique_lock<std::mutex> lock(mutex_);
    const absl::Duration pause = status.ok() ? options_.check_interval : options_.retry_interval;
    changed_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return is_stopping_; });
    if (is_stopping_) return;
  }
}

std::unique_ptr<grpc::ClientContext> VocabularyClient::NewContext(absl::Duration timeout) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  std::lock_guard<std::mutex> lock(mutex_);
  call_ = context.get();
  if (is_stopping_) call_->TryCancel();
  return context;
}

absl::StatusOr<proto::GetInfoResponse> VocabularyClient::AskInfo() {
  const auto context = NewContext(kAskTimeout);
  proto::GetInfoResponse info;
  const grpc::Status status = stub_->GetInfo(context.get(), {}, &info);
  std::lock_guard<std::mutex> lock(mutex_);
  call_ = nullptr;
  RETURN_IF_ERROR(common::FromGrpcStatus(status));
  return info;
}

absl::StatusOr<grammar::Vocabulary> VocabularyClient::Fetch(const proto::GetInfoResponse& info) {
  const auto context = NewContext(kFetchTimeout);
  grammar::Vocabulary vocabulary;
  const auto reader = stub_->GetVocabulary(context.get(), {});
  proto::GetVocabularyResponse part;
  bool is_in_order = true;
  while (reader->Read(&part)) {
    is_in_order = is_in_order && part.first_id() == vocabulary.tokens.size() &&
                  vocabulary.tokens.size() < kMaxTokens;
    if (!is_in_order) context->TryCancel();
    for (int i = 0; is_in_order && i < part.tokens_size(); ++i) {
      vocabulary.tokens.push_back(part.tokens(i));
      vocabulary.is_special.push_back(i < part.special_size() && part.special(i));
    }
    vocabulary.hash = part.hash();
  }
  const grpc::Status status = reader->Finish();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    call_ = nullptr;
  }
  if (!is_in_order) return absl::InternalError("GetVocabulary's parts don't follow each other");
  RETURN_IF_ERROR(common::FromGrpcStatus(status));
  for (const uint32_t id : info.special_token_ids()) {
    if (id < vocabulary.is_special.size()) vocabulary.is_special[id] = true;
  }
  if (vocabulary.hash != info.hash()) return absl::AbortedError("the tokenizer has just changed");
  return vocabulary;
}

}  // namespace quartet::worker_service
