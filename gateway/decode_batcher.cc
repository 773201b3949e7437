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
  queue_.push_back({std::move(item), std::move(done)});
  if (!busy_) SendSoon();
}

// Posted instead of done at once, so that all of a step's items travel in one message.
void DecodeBatcher::SendSoon() {
  if (std::exchange(scheduled_, true)) return;
  loop_->Post([this] {
    scheduled_ = false;
    if (busy_ || queue_.empty()) return;
    outstanding_ = std::exchange(queue_, {});
    Send();
  });
}

void DecodeBatcher::Send() {
  busy_ = true;
  std::vector<DecodeItem> items;
  items.reserve(outstanding_.size());
  for (const Entry& entry : outstanding_) items.push_back(entry.item);
  tokenizer_->StreamDecode(
      std::move(items),
      [this](absl::StatusOr<std::vector<DecodeResult>> answer) { OnAnswer(std::move(answer)); });
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
  std::vector<Entry> entries = std::exchange(outstanding_, {});
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!answer.ok()) {
      entries[i].done(absl::UnavailableError(
          absl::StrCat("the tokenizer service can't be reached: ", answer.status().message())));
    } else if (!(*answer)[i].error.empty()) {
      entries[i].done(absl::InternalError(absl::StrCat("decoding failed: ", (*answer)[i].error)));
    } else {
      entries[i].done(std::move((*answer)[i]));
    }
  }
  if (!queue_.empty()) SendSoon();
}

}  // namespace quartet::gateway
