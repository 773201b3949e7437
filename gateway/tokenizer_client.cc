#include "gateway/tokenizer_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "gateway/channel.h"
#include "gateway/proto_conversion.h"

namespace quartet::gateway {
namespace {

namespace proto = tokenizer::v1;

constexpr absl::Duration kPollInterval = absl::Seconds(1);
// Before the first answer and while the service is away.
constexpr absl::Duration kEagerPollInterval = absl::Milliseconds(200);
constexpr absl::Duration kPollDeadline = absl::Seconds(2);
// Polls that may time out in a row on a busy machine before the service counts as gone.
constexpr int kToleratedTimeouts = 3;
// Megabytes of prompt are encoded within seconds.
constexpr absl::Duration kCallDeadline = absl::Seconds(30);
constexpr absl::Duration kDecodeDeadline = absl::Seconds(10);

// What the service finds wrong with a prompt is the client's error; all else says that the service
// is not there.
absl::Status Explain(const absl::Status& status, const std::string& address) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
  return absl::UnavailableError(
      absl::StrCat("the tokenizer service at ", address, " does not answer: ", status.message()));
}

}  // namespace

TokenizerClient::TokenizerClient(const std::string& address, EventLoop* loop)
    : address_(address),
      loop_(loop),
      stub_(proto::Tokenizer::NewStub(ConnectTo(address))),
      calls_(loop) {}

TokenizerClient::~TokenizerClient() {
  if (stream_ != nullptr) stream_->Cancel();
  open_streams_.WaitForNone();
}

void TokenizerClient::Start(InfoListener listener) {
  loop_->Post([this, listener = std::move(listener)]() mutable {
    on_info_ = std::move(listener);
    Poll();
  });
}

void TokenizerClient::Poll() {
  calls_.Start<proto::GetInfoRequest, proto::GetInfoResponse>(
      {}, kPollDeadline,
      [this](auto* context, auto* request, auto* response, auto callback) {
        stub_->async()->GetInfo(context, request, response, std::move(callback));
      },
      [this](absl::StatusOr<proto::GetInfoResponse> answer) { OnInfo(std::move(answer)); });
}

void TokenizerClient::OnInfo(absl::StatusOr<proto::GetInfoResponse> answer) {
  if (answer.ok()) {
    failed_polls_ = 0;
    TokenizerInfo info = FromProto(*answer);
    if (!info_.has_value() || info_->hash != info.hash) {
      common::LogInfo("tokenizer answers", {{"address", address_}, {"hash", info.hash}});
      info_ = std::move(info);
      on_info_(info_);
    }
  } else {
    ++failed_polls_;
    const bool gone =
        !absl::IsDeadlineExceeded(answer.status()) || failed_polls_ >= kToleratedTimeouts;
    if (info_.has_value() && gone) {
      common::LogWarning("tokenizer does not answer",
                         {{"address", address_}, {"error", answer.status().ToString()}});
      info_.reset();
      on_info_(std::nullopt);
    }
  }
  loop_->PostAfter(info_.has_value() ? kPollInterval : kEagerPollInterval, [this] { Poll(); });
}

void TokenizerClient::Encode(std::string text, bool add_special_tokens, Done<TokenIds> done) {
  EncodeAll({std::move(text)}, add_special_tokens,
            [done = std::move(done)](absl::StatusOr<std::vector<TokenIds>> all) mutable {
              if (!all.ok()) return done(all.status());
              done(std::move(all->front()));
            });
}

void TokenizerClient::EncodeAll(std::vector<std::string> texts, bool add_special_tokens,
                                Done<std::vector<TokenIds>> done) {
  proto::EncodeRequest request;
  const int num_texts = static_cast<int>(texts.size());
  for (std::string& text : texts) *request.add_texts() = std::move(text);
  request.set_add_special_tokens(add_special_tokens);
  calls_.Start<proto::EncodeRequest, proto::EncodeResponse>(
      std::move(request), kCallDeadline,
      [this](auto* context, auto* encode_request, auto* response, auto callback) {
        stub_->async()->Encode(context, encode_request, response, std::move(callback));
      },
      [this, num_texts,
       done = std::move(done)](absl::StatusOr<proto::EncodeResponse> answer) mutable {
        if (!answer.ok()) return done(Explain(answer.status(), address_));
        if (answer->encodings_size() != num_texts) {
          return done(
              absl::InternalError(absl::StrCat("the tokenizer gave ", answer->encodings_size(),
                                               " encodings for ", num_texts, " texts")));
        }
        std::vector<TokenIds> all;
        for (const auto& encoding : answer->encodings()) {
          all.emplace_back(encoding.ids().begin(), encoding.ids().end());
        }
        done(std::move(all));
      });
}

void TokenizerClient::Decode(TokenIds ids, bool skip_special_tokens, Done<std::string> done) {
  proto::DecodeRequest request;
  request.mutable_ids()->Add(ids.begin(), ids.end());
  request.set_skip_special_tokens(skip_special_tokens);
  calls_.Start<proto::DecodeRequest, proto::DecodeResponse>(
      std::move(request), kCallDeadline,
      [this](auto* context, auto* decode_request, auto* response, auto callback) {
        stub_->async()->Decode(context, decode_request, response, std::move(callback));
      },
      [this, done = std::move(done)](absl::StatusOr<proto::DecodeResponse> answer) mutable {
        if (!answer.ok()) return done(Explain(answer.status(), address_));
        done(std::move(*answer->mutable_text()));
      });
}

void TokenizerClient::ApplyChatTemplate(ChatPrompt chat, Done<RenderedChat> done) {
  proto::ApplyChatTemplateRequest request;
  *request.mutable_chat() = ToProto(chat);
  calls_.Start<proto::ApplyChatTemplateRequest, proto::ApplyChatTemplateResponse>(
      std::move(request), kCallDeadline,
      [this](auto* context, auto* apply_request, auto* response, auto callback) {
        stub_->async()->ApplyChatTemplate(context, apply_request, response, std::move(callback));
      },
      [this,
       done = std::move(done)](absl::StatusOr<proto::ApplyChatTemplateResponse> answer) mutable {
        if (!answer.ok()) return done(Explain(answer.status(), address_));
        done(RenderedChat{std::move(*answer->mutable_text()),
                          TokenIds(answer->ids().begin(), answer->ids().end())});
      });
}

void TokenizerClient::OpenStream() {
  const uint64_t number = ++stream_number_;
  open_streams_.Opened();
  DecodeStream::Callbacks callbacks;
  callbacks.on_message = [this, number](proto::StreamDecodeResponse& response) {
    loop_->Post([this, number, results = FromProto(response)]() mutable {
      if (number == stream_number_) FinishDecode(std::move(results));
    });
  };
  callbacks.on_done = [this, number](const grpc::Status& status) {
    loop_->Post([this, number, status = common::FromGrpcStatus(status)] {
      if (number != stream_number_) return;
      stream_.reset();
      FinishDecode(status.ok() ? absl::UnavailableError("the tokenizer closed the stream")
                               : status);
    });
    open_streams_.Closed();
  };
  stream_ = DecodeStream::Open(
      [this](grpc::ClientContext* context, DecodeStream* reactor) {
        stub_->async()->StreamDecode(context, reactor);
      },
      std::move(callbacks));
}

void TokenizerClient::StreamDecode(const std::vector<DecodeItem>& items,
                                   Done<std::vector<DecodeResult>> done) {
  QUARTET_CHECK(decode_done_ == nullptr);
  decode_done_ = std::move(done);
  if (stream_ == nullptr) OpenStream();
  decode_timer_ = loop_->PostAfter(kDecodeDeadline, [this] {
    decode_timer_ = 0;
    if (stream_ != nullptr) stream_->Cancel();  // Its end fails the call.
  });
  stream_->Write(ToProto(items));
}

void TokenizerClient::FinishDecode(absl::StatusOr<std::vector<DecodeResult>> results) {
  if (decode_done_ == nullptr) return;
  loop_->CancelTimer(std::exchange(decode_timer_, 0));
  Done<std::vector<DecodeResult>> done = std::exchange(decode_done_, nullptr);
  done(std::move(results));
}

}  // namespace quartet::gateway
