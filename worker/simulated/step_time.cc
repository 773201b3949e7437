#include "worker/simulated/step_time.h"

#include <algorithm>

namespace quartet::simulated {

StepWork WorkOf(const model::StepInput& input) {
  StepWork work;
  work.num_tokens = input.num_tokens();
  work.num_logits = static_cast<int64_t>(input.logits_rows.size());
  for (const int32_t kv_len : input.kv_len) work.kv_tokens += kv_len;
  for (const int32_t position : input.positions) work.attention_pairs += position + 1;
  return work;
}

StepTime::StepTime(const Profile& profile, const model::ModelConfig& config,
                   const parallel::Shard& shard)
    : profile_(profile) {
  const int64_t hidden = config.hidden_size;
  const int64_t heads_width = int64_t{shard.num_heads} * shard.head_dim;
  const int64_t layer = hidden * (shard.qkv_rows() + heads_width + 3 * shard.intermediate_size);
  const int64_t vocabulary = shard.vocab_rows * hidden;
  const int64_t vectors = config.num_layers * (2 * hidden + shard.qkv_rows()) + hidden;
  layer_values_ = static_cast<double>(layer * config.num_layers);
  lm_head_values_ = static_cast<double>(vocabulary);
  heads_width_ = static_cast<double>(heads_width * config.num_layers);
  hidden_size_ = static_cast<double>(hidden);
  gathered_values_ = static_cast<double>(shard.vocab_rows * (shard.world_size - 1));
  num_all_reduces_ = shard.world_size > 1 ? 2 * config.num_layers + 1 : 0;
  weight_bytes_ =
      profile.bytes_per_value *
      (layer * config.num_layers + (config.tie_word_embeddings ? 1 : 2) * vocabulary + vectors);
  kv_bytes_per_token_ = int64_t{2} * config.num_layers * shard.num_kv_heads * shard.head_dim *
                        profile.bytes_per_value;
}

double StepTime::Roofline(double flops, double bytes) const {
  return std::max(flops / profile_.flops_per_second, bytes / profile_.memory_bytes_per_second);
}

double StepTime::Seconds(const StepWork& work) const {
  if (work.num_tokens == 0) return 0;
  const double tokens = static_cast<double>(work.num_tokens);
  const double logits = static_cast<double>(work.num_logits);
  const double value_bytes = profile_.bytes_per_value;
  double seconds = profile_.step_overhead_s;
  seconds += Roofline(2 * layer_values_ * tokens, layer_values_ * value_bytes);
  if (work.num_logits > 0) {
    seconds += Roofline(2 * lm_head_values_ * logits, lm_head_values_ * value_bytes);
  }
  seconds += Roofline(4 * static_cast<double>(work.attention_pairs) * heads_width_,
                      static_cast<double>(work.kv_tokens * kv_bytes_per_token_));
  if (num_all_reduces_ == 0) return seconds;
  const auto exchange = [&](double values) {
    return profile_.collective_latency_s +
           values * value_bytes / profile_.collective_bytes_per_second;
  };
  seconds += num_all_reduces_ * exchange(tokens * hidden_size_);
  if (work.num_logits > 0) seconds += exchange(logits * gathered_values_);
  return seconds;
}

}  // namespace quartet::simulated
