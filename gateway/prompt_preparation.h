// The way from a request's prompt to token ids: chat template, encoding, filling in the middle,
// cutting, and the ids of the words that the answers must not have.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gateway/decode_batcher.h"
#include "gateway/event_loop.h"
#include "gateway/prepared_request.h"
#include "gateway/request_validation.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway {

// Used on the gateway's loop only. A tokenizer that is away is asked again until `give_up_at`: the
// request was admitted while it was there, and it keeps nothing between calls. If the preparation
// is destroyed, `done` is not called.
class PromptPreparation : public std::enable_shared_from_this<PromptPreparation> {
 public:
  using Done = std::function<void(absl::Status)>;

  PromptPreparation(EventLoop* loop, Tokenizer* tokenizer, DecodeBatcher* decoder,
                    std::shared_ptr<const ModelFacts> model,
                    std::shared_ptr<PreparedRequest> prepared, absl::Time give_up_at);

  // Fills prompt_ids, prompt_text and the banned sequences. REQUIRES: the request is valid.
  void Encode(Done done);
  // For echo and prompt_logprobs: fills echo_text and prompt_tokens. Calls `done` at once if there
  // is nothing to fill. REQUIRES: Encode is done.
  void Describe(Done done);

 private:
  template <class T>
  using OnAnswer = void (PromptPreparation::*)(T);
  // A callback that hands the answer to `next`, or deals with the error: asks again with `step`, or
  // gives up. `step` may be null: the batcher of decodes asks again by itself.
  template <class T>
  Tokenizer::Done<T> Then(void (PromptPreparation::*step)(), OnAnswer<T> next);

  void EncodePrompt();
  void OnTexts(std::vector<TokenIds> encodings);
  void OnChat(RenderedChat chat);
  void EncodeChatText();
  void OnIds(TokenIds ids);
  void EncodeBadWords();
  void OnBadWords(std::vector<TokenIds> encodings);
  void OnPromptDecoded(DecodeResult result);
  void Finish(absl::Status status);

  EventLoop* const loop_;
  Tokenizer* const tokenizer_;
  DecodeBatcher* const decoder_;
  const std::shared_ptr<const ModelFacts> model_;
  const std::shared_ptr<PreparedRequest> prepared_;
  const absl::Time give_up_at_;
  Done done_;
  std::string chat_text_;
  bool was_cut_ = false;
};

}  // namespace quartet::gateway
