// The tokenizer service over gRPC.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/client_stream.h"
#include "gateway/event_loop.h"
#include "gateway/tokenizer.h"
#include "gateway/unary_calls.h"
#include "quartet/tokenizer/v1/tokenizer.grpc.pb.h"

namespace quartet::gateway {

// Used on the gateway's loop only, but for construction, Start and destruction. Asks GetInfo every
// second to know whether the service answers.
class TokenizerClient : public Tokenizer {
 public:
  // Hears on the loop what the service says of itself, whenever that changes; nullopt once it does
  // not answer.
  using InfoListener = std::function<void(std::optional<TokenizerInfo>)>;

  TokenizerClient(const std::string& address, EventLoop* loop);
  // REQUIRES: the loop is stopped.
  ~TokenizerClient() override;

  // Any thread, once.
  void Start(InfoListener listener);

  void Encode(std::string text, bool add_special_tokens, Done<TokenIds> done) override;
  void EncodeAll(std::vector<std::string> texts, bool add_special_tokens,
                 Done<std::vector<TokenIds>> done) override;
  void Decode(TokenIds ids, bool skip_special_tokens, Done<std::string> done) override;
  void ApplyChatTemplate(ChatPrompt chat, Done<RenderedChat> done) override;
  void StreamDecode(const std::vector<DecodeItem>& items,
                    Done<std::vector<DecodeResult>> done) override;

 private:
  using DecodeStream =
      ClientStream<tokenizer::v1::StreamDecodeRequest, tokenizer::v1::StreamDecodeResponse>;
  void Poll();
  void OnInfo(absl::StatusOr<tokenizer::v1::GetInfoResponse> answer);
  void OpenStream();
  void FinishDecode(absl::StatusOr<std::vector<DecodeResult>> results);

  const std::string address_;
  EventLoop* const loop_;
  const std::unique_ptr<tokenizer::v1::Tokenizer::Stub> stub_;
  InfoListener on_info_;
  std::optional<TokenizerInfo> info_;
  int failed_polls_ = 0;

  std::shared_ptr<DecodeStream> stream_;
  uint64_t stream_number_ = 0;  // Tells news of the present stream from that of an earlier one.
  Done<std::vector<DecodeResult>> decode_done_;
  uint64_t decode_timer_ = 0;
  OpenStreams open_streams_;
  UnaryCalls calls_;
};

}  // namespace quartet::gateway
