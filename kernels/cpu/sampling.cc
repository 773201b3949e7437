#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/logits_scan.h"
#include "kernels/cpu/logits_selection.h"
#include "kernels/philox.h"

namespace quartet::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;
// Reported instead of what JSON can't write.
constexpr float kLowestLogprob = -9999.0f;

struct Scratch {
  std::vector<float> adjusted;
  std::vector<Candidate> best;
  LogitsSelection raw;
  LogitsSelection selection;
};

bool HasPenalties(const SampleRow& row) {
  return row.repetition_penalty != 1 || row.presence_penalty != 0 || row.frequency_penalty != 0;
}

bool NeedsAdjusting(const SampleRow& row) {
  return !row.allowed_mask.empty() || !row.banned_ids.empty() || !row.logit_bias.empty() ||
         (HasPenalties(row) && !row.counts.empty());
}

// Copies the row and applies what comes before the temperature. Ids from `limit` up are not there.
void Adjust(const float* logits, int64_t limit, const SampleRow& row, std::vector<float>* out) {
  out->resize(limit);
  float* values = out->data();
  if (row.allowed_mask.empty()) {
    std::copy(logits, logits + limit, values);
  } else {
    CopyAllowed(logits, limit, row.allowed_mask, values);
  }
  const auto is_there = [limit](int32_t id) { return id >= 0 && id < limit; };
  for (int32_t id : row.banned_ids) {
    if (is_there(id)) values[id] = kNothing;
  }
  for (const LogitBias& bias : row.logit_bias) {
    if (is_there(bias.token_id)) values[bias.token_id] += bias.bias;
  }
  if (!HasPenalties(row)) return;
  for (const TokenCount& count : row.counts) {
    if (!is_there(count.token_id)) continue;
    float value = values[count.token_id];
    value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
    if (count.output_count > 0) {
      value -= row.frequency_penalty * static_cast<float>(count.output_count);
      value -= row.presence_penalty;
    }
    values[count.token_id] = value;
  }
}

int32_t Choose(const SampleRow& row, LogitsSelection* selection) {
  if (!(selection->max() > kNothing) ||
      selection->max() == std::numeric_limits<float>::infinity()) {
    return -1;
  }
  if (row.temperature < kGreedyBelow) return selection->ArgMax();
  const float inverse_temperature = 1.0f / row.temperature;
  const double uniform = SamplingUniform(row.seed, row.choice_index, row.output_index);
  if (row.top_k <= 0 && row.top_p >= 1 && row.min_p <= 0) {
    return selection->DrawFromAll(inverse_temperature, uniform);
  }
  return selection->DrawFromBest(inverse_temperature, row.min_p, row.top_k, row.top_p, uniform);
}

void ReportLogprobs(const float* logits, int64_t limit, const SampleRow& row, Scratch* scratch,
                    SampledToken* token) {
  LogitsSelection& raw = scratch->raw;
  raw.Reset(logits, limit);
  const double log_sum = raw.LogSum();
  const auto logprob = [&](float value) {
    const double result = static_cast<double>(value) - raw.max() - log_sum;
    return result > kLowestLogprob ? static_cast<float>(result) : kLowestLogprob;
  };
  token->has_logprobs = true;
  const int32_t id = token->token_id;
  token->logprob.token_id = id;
  if (id < limit) {
    const float value = logits[id];
    token->logprob.logprob = logprob(value);
    const int64_t ties = std::count(logits, logits + id, value);
    token->logprob.rank = static_cast<int32_t>(CountGreater(logits, limit, value) + ties + 1);
  } else {
    token->logprob.logprob = kLowestLogprob;
    token->logprob.rank = static_cast<int32_t>(limit + 1);
  }
  if (row.num_logprobs <= 0) return;
  raw.Best(std::min<int64_t>(row.num_logprobs, limit), &scratch->best);
  int32_t rank = 1;
  for (const Candidate& candidate : scratch->best) {
    token->top.push_back({candidate.token_id, logprob(candidate.value), rank++});
  }
}

SampledToken SampleOne(const float* logits, int64_t limit, const SampleRow& row, Scratch* scratch) {
  SampledToken token;
  if (row.forced_token_id >= 0) {
    token.token_id = row.forced_token_id;
  } else {
    const float* values = logits;
    if (NeedsAdjusting(row)) {
      Adjust(logits, limit, row, &scratch->adjusted);
      values = scratch->adjusted.data();
    }
    scratch->selection.Reset(values, limit);
    token.token_id = Choose(row, &scratch->selection);
  }
  if (row.num_logprobs >= 0 && token.token_id >= 0) {
    ReportLogprobs(logits, limit, row, scratch, &token);
  }
  return token;
}

}  // namespace

absl::Status Sample(const float* logits, int64_t vocab_size, int64_t sample_limit,
                    std::span<const SampleRow> rows, ThreadPool* pool,
                    std::vector<SampledToken>* out) {
  if (sample_limit < 1 || sample_limit > vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("sample_limit is ", sample_limit,
                                                   ", must be from 1 to the ", vocab_size,
                                                   " columns of the logits"));
  }
  out->assign(rows.size(), SampledToken());
  std::vector<Scratch> scratch(pool == nullptr ? 1 : pool->num_threads());
  const auto sample = [&](int64_t i, int thread) {
    const SampleRow& row = rows[i];
    const int64_t limit =
        row.sample_limit > 0 ? std::min<int64_t>(row.sample_limit, sample_limit) : sample_limit;
    (*out)[i] = SampleOne(logits + row.logits_row * vocab_size, limit, row, &scratch[thread]);
  };
  if (pool == nullptr || rows.size() < 2) {
    for (size_t i = 0; i < rows.size(); ++i) sample(static_cast<int64_t>(i), 0);
  } else {
    pool->ParallelFor(static_cast<int64_t>(rows.size()), sample);
  }
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
