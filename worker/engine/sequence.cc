#include "worker/engine/sequence.h"

#include <algorithm>

#include "common/status_macros.h"

namespace quartet::engine {

void TokenCounts::Add(int32_t token_id, bool is_output) {
  const auto [it, is_new] = index_.try_emplace(token_id, counts_.size());
  if (is_new) counts_.push_back({token_id, 0});
  if (is_output) ++counts_[it->second].output_count;
}

Sequence::Sequence(SequenceRequest request, absl::Time arrival, int64_t vocab_size)
    : request_(std::move(request)),
      arrival_(arrival),
      deadline_(request_.timeout_ms == 0 ? absl::InfiniteFuture()
                                         : arrival + absl::Milliseconds(request_.timeout_ms)),
      num_prompt_tokens_(static_cast<int64_t>(request_.prompt_ids.size())),
      tokens_(request_.prompt_ids) {
  tokens_.insert(tokens_.end(), request_.output_ids.begin(), request_.output_ids.end());
  end_ids_ = params().stop_token_ids;
  if (!params().ignore_eos) {
    end_ids_.insert(end_ids_.end(), request_.eos_token_ids.begin(), request_.eos_token_ids.end());
  }
  std::sort(end_ids_.begin(), end_ids_.end());
  end_ids_.erase(std::unique(end_ids_.begin(), end_ids_.end()), end_ids_.end());
  constraint_ =
      TokenConstraint(request_.matcher, params(), end_ids_, vocab_size, request_.sample_limit);
  if (params().HasPenalties()) {
    for (int64_t i = 0; i < num_tokens(); ++i) counts_.Add(tokens_[i], i >= num_prompt_tokens_);
  }
}

bool Sequence::EndsWithPendingSamples(int64_t max_model_len) const {
  return num_output_tokens() + num_pending_samples >= params().max_tokens ||
         num_tokens() + num_pending_samples >= max_model_len;
}

FinishReason Sequence::AppendOutput(int32_t token_id, int64_t max_model_len) {
  QUARTET_CHECK(num_pending_samples > 0);
  --num_pending_samples;
  tokens_.push_back(token_id);
  if (params().HasPenalties()) counts_.Add(token_id, /*is_output=*/true);
  const bool is_end_id = std::binary_search(end_ids_.begin(), end_ids_.end(), token_id);
  // A grammar lets them be sampled only where it may end, and before min_tokens only where it must.
  if (is_end_id && (num_output_tokens() > params().min_tokens || constraint_.has_grammar())) {
    return FinishReason::kStop;
  }
  constraint_.Accept(token_id);
  if (num_output_tokens() >= params().max_tokens || num_tokens() >= max_model_len) {
    return FinishReason::kLength;
  }
  return FinishReason::kNone;
}

kernels::SampleRow Sequence::NextSampleRow(int64_t logits_row) const {
  const SamplingParams& p = params();
  kernels::SampleRow row;
  row.logits_row = logits_row;
  row.temperature = p.temperature;
  row.top_p = p.top_p;
  row.top_k = std::max(p.top_k, 0);
  row.min_p = p.min_p;
  row.repetition_penalty = p.repetition_penalty;
  row.presence_penalty = p.presence_penalty;
  row.frequency_penalty = p.frequency_penalty;
  row.seed = p.seed;
  row.choice_index = request_.choice_index;
  row.output_index = static_cast<uint32_t>(num_output_tokens());
  row.logit_bias = p.logit_bias;
  row.counts = counts_.counts();
  constraint_.Fill(num_output_tokens() < p.min_tokens, &row);
  row.num_logprobs = p.num_logprobs;
  row.sample_limit = request_.sample_limit;
  return row;
}

kernels::SampleRow Sequence::PromptLogprobRow(int64_t logits_row, int64_t position) const {
  kernels::SampleRow row;
  row.logits_row = logits_row;
  row.forced_token_id = tokens_[position];
  row.num_logprobs = params().num_prompt_logprobs;
  row.sample_limit = request_.sample_limit;
  return row;
}

int64_t Sequence::next_prompt_logprob_position() const {
  // A resumed sequence that has output has sent them in an earlier attempt.
  if (params().num_prompt_logprobs < 0 || !request_.output_ids.empty()) return 0;
  const int64_t next = num_planned_prompt_logprobs + 1;
  return !has_sent_event && next < num_prompt_tokens_ ? next : 0;
}

}  // namespace quartet::engine
