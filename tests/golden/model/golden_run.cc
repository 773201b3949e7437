#include "tests/golden/model/golden_run.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/device/cpu_device.h"
#include "worker/model/decoder.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/shared_memory_communicator.h"
#include "worker/parallel/single_rank_communicator.h"

namespace quartet::golden {
namespace {

using kernels::kBlockTokens;

// Builds steps; knows how far each sequence has come.
class ScheduleBuilder {
 public:
  explicit ScheduleBuilder(const Reference& reference, int masked = -1)
      : reference_(reference), masked_(masked), next_(reference.prompts.size()) {
    for (size_t s = 0; s < next_.size(); ++s) {
      tokens_.push_back(reference.prompts[s]);
      const auto& more = reference.reference_ids[s];
      tokens_[s].insert(tokens_[s].end(), more.begin(), more.end() - 1);
      max_blocks_ = std::max<int32_t>(max_blocks_, (Length(s) + kBlockTokens - 1) / kBlockTokens);
    }
    blocks_.resize(next_.size() * max_blocks_);
    std::iota(blocks_.begin(), blocks_.end(), 0);
    std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(5));
    schedule_.num_kv_blocks = static_cast<int64_t>(blocks_.size());
  }

  int32_t Length(size_t sequence) const { return static_cast<int32_t>(tokens_[sequence].size()); }
  int32_t PromptLength(size_t sequence) const {
    return static_cast<int32_t>(reference_.prompts[sequence].size());
  }
  int32_t Next(size_t sequence) const { return next_[sequence]; }

  // Adds the next `count` tokens of a sequence to the current step.
  void Add(size_t sequence, int32_t count) {
    model::StepInput& input = step_.input;
    const auto table = blocks_.begin() + sequence * max_blocks_;
    if (input.query_start.empty()) input.query_start.push_back(0);
    for (int32_t t = next_[sequence]; t < next_[sequence] + count; ++t) {
      const int32_t cached = CacheIndex(t);
      const int32_t after_prompt = t - (PromptLength(sequence) - 1);
      if (after_prompt >= 0) {
        input.logits_rows.push_back(static_cast<int32_t>(input.num_tokens()));
        step_.positions.push_back(sequence * reference_.num_reference + after_prompt);
      }
      input.token_ids.push_back(tokens_[sequence][t]);
      input.positions.push_back(t);
      input.slot_mapping.push_back(table[cached / kBlockTokens] * kBlockTokens +
                                   cached % kBlockTokens);
    }
    next_[sequence] += count;
    input.query_start.push_back(static_cast<int32_t>(input.num_tokens()));
    input.kv_len.push_back(CacheIndex(next_[sequence] - 1) + 1);
    input.block_tables.insert(input.block_tables.end(), table, table + max_blocks_);
    input.max_blocks = max_blocks_;
  }

  void EndStep() {
    schedule_.max_step_tokens = std::max(schedule_.max_step_tokens, step_.input.num_tokens());
    schedule_.max_logits_rows =
        std::max<int64_t>(schedule_.max_logits_rows, step_.input.logits_rows.size());
    schedule_.steps.push_back(std::move(step_));
    step_ = {};
  }

  Schedule Build() { return std::move(schedule_); }

 private:
  // Where position t lies in the cache: from the masked one on, one place earlier.
  int32_t CacheIndex(int32_t t) const { return masked_ >= 0 && t > masked_ ? t - 1 : t; }

  const Reference& reference_;
  const int masked_;
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<int32_t> next_;
  std::vector<int32_t> blocks_;  // [sequences, max_blocks]
  int32_t max_blocks_ = 0;
  Schedule::Step step_;
  Schedule schedule_;
};

struct RankResult {
  absl::Status status;
  std::vector<float> logits;
};

absl::StatusOr<std::vector<float>> RunRank(const model::Checkpoint& checkpoint,
                                           const model::ModelConfig& config,
                                           const Schedule& schedule, const RunOptions& options,
                                           const parallel::SharedMemoryOptions& shared) {
  ASSIGN_OR_RETURN(
      const auto device,
      device::NewCpuDevice({.num_threads = 1, .instruction_set = options.instruction_set}));
  ASSIGN_OR_RETURN(
      const parallel::Shard shard,
      parallel::MakeShard(model::ShardedSizesOf(config), shared.rank, shared.world_size));
  ASSIGN_OR_RETURN(
      model::ModelWeights weights,
      model::LoadWeights(checkpoint, config, shard, *device, {.num_threads = 1, .progress = {}}));
  std::unique_ptr<parallel::Communicator> communicator;
  if (shared.world_size == 1) {
    communicator = std::make_unique<parallel::SingleRankCommunicator>();
  } else {
    ASSIGN_OR_RETURN(communicator, parallel::SharedMemoryCommunicator::Connect(shared));
  }
  model::DecoderOptions decoder_options;
  decoder_options.compute_dtype = options.dtype;
  decoder_options.max_step_tokens = schedule.max_step_tokens;
  decoder_options.max_logits_rows = schedule.max_logits_rows;
  decoder_options.num_kv_blocks = schedule.num_kv_blocks;
  decoder_options.max_model_len = config.max_position_embeddings;
  ASSIGN_OR_RETURN(const auto decoder,
                   model::Decoder::Create(config, std::move(weights), shard, *device, *communicator,
                                          decoder_options));
  std::vector<float> logits;
  for (const Schedule::Step& step : schedule.steps) {
    RETURN_IF_ERROR(decoder->Forward(step.input));
    if (shared.rank != 0) continue;
    for (size_t row = 0; row < step.positions.size(); ++row) {
      const size_t first = step.positions[row] * config.vocab_size;
      logits.resize(std::max(logits.size(), first + config.vocab_size));
      RETURN_IF_ERROR(decoder->ReadLogits(static_cast<int64_t>(row),
                                          std::span(logits).subspan(first, config.vocab_size)));
    }
  }
  return logits;
}

}  // namespace

Schedule WholeSequences(const Reference& reference) { return WithMaskedPosition(reference, -1); }

Schedule WithMaskedPosition(const Reference& reference, int masked) {
  ScheduleBuilder builder(reference, masked);
  for (size_t s = 0; s < reference.prompts.size(); ++s) {
    if (masked >= 0) {
      builder.Add(s, masked + 1);
      builder.EndStep();
    }
    builder.Add(s, builder.Length(s) - builder.Next(s));
    builder.EndStep();
  }
  return builder.Build();
}

Schedule ServedTogether(const Reference& reference) {
  constexpr int32_t kChunk = 16;
  ScheduleBuilder builder(reference);
  const size_t num_sequences = reference.prompts.size();
  for (size_t joined = 1;; ++joined) {
    bool added = false;
    // The longest prompts come first, so that chunks and single tokens share steps.
    for (size_t i = 0; i < std::min(joined, num_sequences); ++i) {
      const size_t s = num_sequences - 1 - i;
      const int32_t next = builder.Next(s);
      if (next == builder.Length(s)) continue;
      const int32_t prompt_left = builder.PromptLength(s) - next;
      builder.Add(s, prompt_left > 0 ? std::min(kChunk, prompt_left) : 1);
      added = true;
    }
    if (!added) return builder.Build();
    builder.EndStep();
  }
}

absl::StatusOr<std::vector<float>> RunGolden(const model::Checkpoint& checkpoint,
                                             const model::ModelConfig& config,
                                             const Schedule& schedule, const RunOptions& options) {
  static std::atomic<uint64_t> group{0};
  parallel::SharedMemoryOptions shared;
  shared.epoch = ++group;
  shared.name = absl::StrCat("/quartet_golden_", getpid(), "_", shared.epoch);
  shared.world_size = options.world_size;
  shared.slot_bytes = 1 << 18;

  std::vector<absl::StatusOr<std::vector<float>>> results(options.world_size);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < options.world_size; ++rank) {
    ranks.emplace_back([&, rank, shared]() mutable {
      shared.rank = rank;
      results[rank] = RunRank(checkpoint, config, schedule, options, shared);
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const auto& result : results) RETURN_IF_ERROR(result.status());
  return std::move(results[0]);
}

Comparison Compare(const std::vector<float>& logits, const Reference& reference, double bound) {
  const int64_t vocab_size = reference.vocab_size;
  std::vector<double> signs(reference.num_projections * vocab_size);
  for (int64_t i = 0; i < static_cast<int64_t>(signs.size()); ++i) {
    signs[i] = ProjectionSign(reference, static_cast<int>(i / vocab_size), i % vocab_size);
  }
  Comparison result;
  result.num_positions = static_cast<int64_t>(reference.positions.size());
  // A NaN must not vanish in a maximum.
  const auto raise = [](double error, double* max) {
    if (!(error <= *max)) *max = std::isnan(error) ? INFINITY : error;
  };
  for (int64_t n = 0; n < result.num_positions; ++n) {
    const Reference::Position& want = reference.positions[n];
    const float* got = logits.data() + n * vocab_size;
    const auto check = [&](int32_t id, float value) {
      raise(std::abs(double{got[id]} - value) / want.deviation, &result.max_logit_error);
    };
    const std::vector<int32_t> ids = SampleIds(reference, n);
    for (int i = 0; i < reference.num_samples; ++i) check(ids[i], want.samples[i]);
    for (int i = 0; i < 2; ++i) check(want.ids[i], want.top[i]);
    for (int j = 0; j < reference.num_projections; ++j) {
      const double sum = std::inner_product(got, got + vocab_size, &signs[j * vocab_size], 0.0);
      raise(std::abs(sum - want.projections[j]) / want.deviation, &result.max_projection_error);
    }
    const bool differs = std::max_element(got, got + vocab_size) - got != want.ids[0];
    const bool clear = want.top[0] - want.top[1] > 2 * bound * want.deviation;
    result.num_argmax_differs += differs;
    result.num_clear += clear;
    result.num_clear_argmax_differs += clear && differs;
  }
  return result;
}

}  // namespace quartet::golden
