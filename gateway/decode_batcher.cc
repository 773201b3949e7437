#include "gateway/decode_batcher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"

namespace quartet::gateway {
namespace {

constexpr absl::Duration kRetryDelay = absl::Milliseconds(100);

}  // namespace

DecodeBatcher::DecodeBatcher(EventLoop* loop, Tokenizer* tokenizer, absl::Duration give_up_after)
    : loop_(loop), tokenizer_(tokenizer), give_up_after_(give_up_after) {}

void DecodeBatcher::Add(DecodeItem item, Done done) {
  queue_.push_back(std::move(item));
  queue_done_.push_back(std::move(done));
  if (!busy_) SendSoon();
}

// Posted instead of done at once, so that all of a step's items travel in one message.
void DecodeBatcher::SendSoon() {
  if (std::exchange(scheduled_, true)) return;
  loop_->Post([this] {
    scheduled_ = false;
    if (busy_ || queue_.empty()) return;
    outstanding_.swap(queue_);
    outstanding_done_.swap(queue_done_);
    Send();
  });
}

void DecodeBatcher::Send() {
  busy_ = true;
  tokenizer_->StreamDecode(outstanding_, [this](absl::StatusOr<std::vector<DecodeResult>> answer) {
    OnAnswer(std::move(answer));
  });
}

void DecodeBatcher::OnAnswer(absl::StatusOr<std::vector<DecodeResult>> answer) {
  if (answer.ok() && answer->size() != outstanding_.size()) {
    answer = absl::InternalError(absl::StrCat("the tokenizer answered ", answer->size(),
                                              " results to ", outstanding_.size(), " items"));
  }
  if (!answer.ok()) {
    if (first_failure_ == absl::InfiniteFuture()) {
      first_failure_ = loop_->Now();
      common::LogWarning("decoding failed, trying again", {{"error", answer.status().ToString()}});
    }
    if (loop_->Now() - first_failure_ < give_up_after_) {
      loop_->PostAfter(kRetryDelay, [this] { Send(); });
      return;
    }
  }
  first_failure_ = absl::InfiniteFuture();
  busy_ = false;
  outstanding_.clear();
  std::vector<Done> all_done = std::exchange(outstanding_done_, {});
  for (size_t i = 0; i < all_done.size(); ++i) {
    if (!answer.ok()) {
      all_done[i](absl::UnavailableError(
          absl::StrCat("the tokenizer service can't be reached: ", answer.status().message())));
    } else if (!(*answer)[i].error.empty()) {
      all_done[i](absl::InternalError(absl::StrCat("decoding failed: ", (*answer)[i].error)));
    } else {
      all_done[i](std::move((*answer)[i]));
    }
  }
  if (!queue_.empty()) SendSoon();
}

}  // namespace quartet::gateway
