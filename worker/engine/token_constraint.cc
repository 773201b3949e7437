#include "worker/engine/token_constraint.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace quartet::engine {
namespace {

void SetBit(int32_t id, std::vector<uint32_t>* mask) {
  (*mask)[static_cast<size_t>(id) / 32] |= uint32_t{1} << (id % 32);
}

void ClearBit(int32_t id, std::vector<uint32_t>* mask) {
  (*mask)[static_cast<size_t>(id) / 32] &= ~(uint32_t{1} << (id % 32));
}

bool AnyBit(const std::vector<uint32_t>& mask) {
  return std::any_of(mask.begin(), mask.end(), [](uint32_t word) { return word != 0; });
}

absl::Status NothingIsLeft(size_t num_output_tokens) {
  return absl::InvalidArgumentError(
      absl::StrCat("no token is left to be sampled after ", num_output_tokens,
                   " output tokens: structured_output, allowed_token_ids and banned_sequences "
                   "contradict each other"));
}

}  // namespace

TokenConstraint::TokenConstraint(std::shared_ptr<grammar::Matcher> matcher,
                                 const SamplingParams& params, std::vector<int32_t> end_ids,
                                 int64_t vocab_size, int32_t sample_limit)
    : matcher_(std::move(matcher)), end_ids_(std::move(end_ids)), sample_limit_(sample_limit) {
  for (const std::vector<int32_t>& banned : params.banned_sequences) {
    if (banned.size() == 1) {
      always_banned_.push_back(banned[0]);
    } else {
      banned_sequences_.push_back(banned);
    }
  }
  banned_ = always_banned_;
  banned_and_end_ids_ = banned_;
  banned_and_end_ids_.insert(banned_and_end_ids_.end(), end_ids_.begin(), end_ids_.end());
  if (params.allowed_token_ids.empty() && matcher_ == nullptr) return;
  const size_t num_words = static_cast<size_t>(vocab_size + 31) / 32;
  allowed_.assign(num_words, 0);
  const int64_t limit =
      sample_limit_ > 0 ? std::min<int64_t>(sample_limit_, vocab_size) : vocab_size;
  if (params.allowed_token_ids.empty()) {
    std::fill_n(allowed_.begin(), limit / 32, ~uint32_t{0});
    for (int64_t id = limit / 32 * 32; id < limit; ++id)
      SetBit(static_cast<int32_t>(id), &allowed_);
  } else {
    for (const int32_t id : params.allowed_token_ids) {
      if (id < limit) SetBit(id, &allowed_);
    }
  }
  mask_ = allowed_;
}

void TokenConstraint::Accept(int32_t token_id) {
  if (matcher_ != nullptr && status_.ok() && !has_ended_) status_ = matcher_->Accept(token_id);
}

bool TokenConstraint::IsAllowedByMask(int32_t id) const {
  return (allowed_[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

bool TokenConstraint::AnythingIsLeft() const {
  if (banned_.empty()) return AnyBit(mask_);
  std::vector<uint32_t> left = mask_;
  for (const int32_t id : banned_) ClearBit(id, &left);
  return AnyBit(left);
}

void TokenConstraint::Prepare(std::span<const int32_t> output, bool is_below_min) {
  if (!status_.ok()) return;
  banned_ = always_banned_;
  for (const std::vector<int32_t>& banned : banned_sequences_) {
    const size_t before = banned.size() - 1;
    if (output.size() >= before &&
        std::equal(output.end() - static_cast<int64_t>(before), output.end(), banned.begin())) {
      banned_.push_back(banned.back());
    }
  }
  banned_and_end_ids_ = banned_;
  banned_and_end_ids_.insert(banned_and_end_ids_.end(), end_ids_.begin(), end_ids_.end());
  if (matcher_ == nullptr) {
    if (!mask_.empty() && !AnythingIsLeft()) status_ = NothingIsLeft(output.size());
    return;
  }
  status_ = matcher_->FillMask(mask_);
  if (!status_.ok()) return;
  for (size_t i = 0; i < mask_.size(); ++i) mask_[i] &= allowed_[i];
  // Ids that end a sequence do so, whatever text they stand for.
  for (const int32_t id : end_ids_) ClearBit(id, &mask_);
  const bool goes_on = AnythingIsLeft();
  // The grammar has precedence over min_tokens: what must end does.
  if (matcher_->CanEnd() && (!is_below_min || !goes_on)) {
    for (const int32_t id : end_ids_) {
      if (IsAllowedByMask(id)) SetBit(id, &mask_);
    }
  }
  if (goes_on || AnythingIsLeft()) return;
  if (matcher_->CanEnd()) {
    has_ended_ = true;
    return;
  }
  status_ = NothingIsLeft(output.size());
}

void TokenConstraint::Fill(bool is_below_min, kernels::SampleRow* row) const {
  if (!status_.ok() || has_ended_) {
    row->forced_token_id = 0;
    row->num_logprobs = -1;
    return;
  }
  row->allowed_mask = mask_;
  // With a grammar the mask knows better whether end ids may be sampled.
  row->banned_ids = is_below_min && !has_grammar() ? banned_and_end_ids_ : banned_;
}

}  // namespace quartet::engine
