#include "worker/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::model {

using kernels::DevicePtr;

namespace {

// Elements that a probe sums: a cache line.
constexpr int64_t kProbeElements = 64 / sizeof(float);

absl::Status CheckCommunicator(const parallel::Shard& shard,
                               const parallel::Communicator& communicator) {
  if (communicator.rank() == shard.rank && communicator.world_size() == shard.world_size) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the weights are rank ", shard.rank, "'s of ", shard.world_size, ", the communicator rank ",
      communicator.rank(), "'s of ", communicator.world_size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(
    const ModelConfig& config, ModelWeights weights, const parallel::Shard& shard,
    device::Device& device, parallel::Communicator& communicator, const DecoderOptions& options) {
  RETURN_IF_ERROR(CheckCommunicator(shard, communicator));
  if (options.max_step_tokens < 1 || options.max_logits_rows < 1 || options.sample_limit < 0 ||
      options.sample_limit > config.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a step of ", options.max_step_tokens, " tokens with ", options.max_logits_rows,
        " rows of logits, sampled below id ", options.sample_limit,
        "; expected positive numbers and at most the vocabulary's ", config.vocab_size, " ids"));
  }
  ASSIGN_OR_RETURN(DecoderBuffers buffers, CreateDecoderBuffers(device, config, shard, options));
  ASSIGN_OR_RETURN(KvCache kv_cache, KvCache::Create(device, config, shard, options.compute_dtype,
                                                     options.num_kv_blocks));
  return std::unique_ptr<Decoder>(new Decoder(config, std::move(weights), shard, device,
                                              communicator, options, std::move(kv_cache),
                                              std::move(buffers)));
}

Decoder::Decoder(const ModelConfig& config, ModelWeights weights, const parallel::Shard& shard,
                 device::Device& device, parallel::Communicator& communicator,
                 const DecoderOptions& options, KvCache kv_cache, DecoderBuffers buffers)
    : config_(config),
      weights_(std::move(weights)),
      shard_(shard),
      device_(device),
      communicator_(&communicator),
      options_(options),
      kv_cache_(std::move(kv_cache)),
      buffers_(std::move(buffers)),
      step_(device),
      queue_(device.NewQueue()) {}

absl::Status Decoder::JoinGroup(parallel::Communicator& communicator, int64_t num_kv_blocks) {
  RETURN_IF_ERROR(CheckCommunicator(shard_, communicator));
  communicator_ = &communicator;
  num_logits_ = 0;
  if (num_kv_blocks == kv_cache_.num_blocks()) return absl::OkStatus();
  // The old cache must go before there is room for the new one.
  kv_cache_ = KvCache();
  ASSIGN_OR_RETURN(
      kv_cache_, KvCache::Create(device_, config_, shard_, options_.compute_dtype, num_kv_blocks));
  return absl::OkStatus();
}

absl::Status Decoder::Probe() {
  const int64_t count = std::min(kProbeElements, options_.max_step_tokens * config_.hidden_size);
  RETURN_IF_ERROR(
      communicator_->AllReduceSegments(*queue_, buffers_.delta, 1, count, buffers_.residual));
  return queue_->Wait();
}

absl::Status Decoder::ShareTokenIds(std::vector<int32_t>* ids) {
  return communicator_->Broadcast(ids->data(), static_cast<int64_t>(ids->size() * sizeof(int32_t)));
}

absl::Status Decoder::Forward(const StepInput& input) {
  num_logits_ = 0;
  if (input.num_tokens() == 0) return Probe();
  RETURN_IF_ERROR(CheckInput(input));
  const int64_t num_tokens = input.num_tokens();
  RETURN_IF_ERROR(step_.Upload(input, *queue_));
  RETURN_IF_ERROR(queue_->RopeTable({.positions = step_.positions,
                                     .inverse_frequencies = buffers_.inverse_frequencies,
                                     .scale = buffers_.rope_scale,
                                     .num_tokens = num_tokens,
                                     .head_dim = shard_.head_dim,
                                     .cos_sin = buffers_.cos_sin}));
  RETURN_IF_ERROR(Embed(num_tokens));
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    RETURN_IF_ERROR(RunLayer(layer, input));
  }
  if (!input.logits_rows.empty()) {
    RETURN_IF_ERROR(ComputeLogits(static_cast<int64_t>(input.logits_rows.size())));
  }
  RETURN_IF_ERROR(queue_->Wait());
  num_logits_ = static_cast<int64_t>(input.logits_rows.size());
  return absl::OkStatus();
}

// Each row lies on one rank; the others add zeros.
absl::Status Decoder::Embed(int64_t num_tokens) {
  const bool whole = shard_.world_size == 1;
  RETURN_IF_ERROR(queue_->Embedding({.token_ids = step_.token_ids,
                                     .num_tokens = num_tokens,
                                     .table = weights_.embed_tokens,
                                     .first_row = weights_.vocab_first_row,
                                     .out = whole ? buffers_.residual : buffers_.delta}));
  if (whole) return absl::OkStatus();
  return communicator_->AllReduceSegments(*queue_, buffers_.delta, 1,
                                          num_tokens * config_.hidden_size, buffers_.residual);
}

absl::Status Decoder::RunLayer(int layer, const StepInput& input) {
  const LayerWeights& weights = weights_.layers[layer];
  const int64_t num_tokens = input.num_tokens();
  // What the block before has left in delta joins the residual here; the first layer has none.
  const DevicePtr<const float> before =
      layer == 0 ? DevicePtr<const float>() : DevicePtr<const float>(buffers_.delta);
  RETURN_IF_ERROR(NormAfterAdding(before, weights.input_layernorm, num_tokens));
  RETURN_IF_ERROR(Attend(weights, layer, input));
  RETURN_IF_ERROR(NormAfterAdding(buffers_.delta, weights.post_attention_layernorm, num_tokens));
  return FeedForward(weights, num_tokens);
}

// normed [T, hidden_size] -> delta [T, hidden_size].
absl::Status Decoder::Attend(const LayerWeights& weights, int layer, const StepInput& input) {
  const int64_t num_tokens = input.num_tokens();
  const kernels::KvCacheLayer cache = kv_cache_.Layer(layer);
  RETURN_IF_ERROR(queue_->Matmul({.x = buffers_.normed,
                                  .num_tokens = num_tokens,
                                  .weight = weights.qkv_proj,
                                  .out = buffers_.qkv}));
  RETURN_IF_ERROR(queue_->RopeAndCache({.qkv = buffers_.qkv,
                                        .bias = weights.qkv_bias,
                                        .cos_sin = buffers_.cos_sin,
                                        .slot_mapping = step_.slot_mapping,
                                        .num_tokens = num_tokens,
                                        .num_heads = shard_.num_heads,
                                        .q = buffers_.q,
                                        .cache = cache}));
  RETURN_IF_ERROR(
      queue_->Attention({.q = buffers_.q,
                         .cache = cache,
                         .query_start = step_.query_start,
                         .kv_len = step_.kv_len,
                         .block_tables = step_.block_tables,
                         .num_sequences = input.num_sequences(),
                         .max_blocks = input.max_blocks,
                         .num_tokens = num_tokens,
                         .num_heads = shard_.num_heads,
                         .scale = static_cast<float>(1 / std::sqrt(double(shard_.head_dim))),
                         .out = buffers_.attention}));
  return SummedProduct(buffers_.attention, weights.o_proj, num_tokens);
}

// normed [T, hidden_size] -> delta [T, hidden_size].
absl::Status Decoder::FeedForward(const LayerWeights& weights, int64_t num_tokens) {
  RETURN_IF_ERROR(queue_->Matmul({.x = buffers_.normed,
                                  .num_tokens = num_tokens,
                                  .weight = weights.gate_up_proj,
                                  .out = buffers_.gate_up}));
  RETURN_IF_ERROR(queue_->Swiglu({.gate_up = buffers_.gate_up,
                                  .num_tokens = num_tokens,
                                  .intermediate_size = shard_.intermediate_size,
                                  .out = buffers_.gated}));
  return SummedProduct(buffers_.gated, weights.down_proj, num_tokens);
}

// Final norm and lm_head for the rows that are wanted alone: -> logits [num_logits, vocab_size].
absl::Status Decoder::ComputeLogits(int64_t num_logits) {
  const int64_t hidden = config_.hidden_size;
  for (const auto& [from, to] : {std::pair{buffers_.residual, buffers_.last},
                                 std::pair{buffers_.delta, buffers_.last_delta}}) {
    RETURN_IF_ERROR(queue_->GatherRows({.in = from,
                                        .rows = step_.logits_rows,
                                        .num_rows = num_logits,
                                        .width = hidden,
                                        .out = to}));
  }
  RETURN_IF_ERROR(queue_->AddRmsNorm({.residual = buffers_.last,
                                      .delta = buffers_.last_delta,
                                      .weight = weights_.final_norm,
                                      .epsilon = config_.rms_norm_eps,
                                      .num_tokens = num_logits,
                                      .hidden_size = hidden,
                                      .out = buffers_.last_normed}));
  RETURN_IF_ERROR(queue_->Matmul({.x = buffers_.last_normed,
                                  .num_tokens = num_logits,
                                  .weight = weights_.lm_head,
                                  .out = buffers_.logits_part}));
  if (shard_.world_size == 1) return absl::OkStatus();
  return communicator_->GatherColumns(*queue_, buffers_.logits_part, num_logits, shard_.vocab_rows,
                                      buffers_.logits);
}

// residual += delta (if there is one); normed = RMSNorm(residual) * weight.
absl::Status Decoder::NormAfterAdding(DevicePtr<const float> delta, DevicePtr<const float> weight,
                                      int64_t num_tokens) {
  return queue_->AddRmsNorm({.residual = buffers_.residual,
                             .delta = delta,
                             .weight = weight,
                             .epsilon = config_.rms_norm_eps,
                             .num_tokens = num_tokens,
                             .hidden_size = config_.hidden_size,
                             .out = buffers_.normed});
}

// delta = x * weight^T, summed over the columns of all ranks in segment order.
absl::Status Decoder::SummedProduct(const kernels::Activation& x,
                                    const kernels::PackedMatrix& weight, int64_t num_tokens) {
  RETURN_IF_ERROR(queue_->Matmul({.x = x,
                                  .num_tokens = num_tokens,
                                  .weight = weight,
                                  .num_segments = shard_.num_segments,
                                  .out = buffers_.segments}));
  return communicator_->AllReduceSegments(*queue_, buffers_.segments, shard_.num_segments,
                                          num_tokens * config_.hidden_size, buffers_.delta);
}

absl::Status Decoder::Sample(std::span<const kernels::SampleRow> rows,
                             std::vector<kernels::SampledToken>* out) {
  for (const kernels::SampleRow& row : rows) {
    if (row.logits_row >= 0 && row.logits_row < num_logits_ && buffers_.logits) continue;
    return absl::InvalidArgumentError(absl::StrCat("row ", row.logits_row, " of ", num_logits_,
                                                   " rows of logits on rank ", shard_.rank));
  }
  RETURN_IF_ERROR(queue_->Sample(
      buffers_.logits, shard_.padded_vocab_size(),
      options_.sample_limit > 0 ? options_.sample_limit : config_.vocab_size, rows, out));
  return queue_->Wait();
}

absl::Status Decoder::ReadLogits(int64_t row, std::span<float> out) {
  if (row < 0 || row >= num_logits_ || !buffers_.logits ||
      static_cast<int64_t>(out.size()) != config_.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("row ", row, " of ", num_logits_, " rows of logits on rank ", shard_.rank,
                     " into ", out.size(), " floats; there are ", config_.vocab_size));
  }
  RETURN_IF_ERROR(queue_->ReadBack(out.data(), buffers_.logits + row * shard_.padded_vocab_size(),
                                   static_cast<int64_t>(out.size_bytes())));
  return queue_->Wait();
}

namespace {

bool AllWithin(std::span<const int32_t> values, int64_t end) {
  return std::all_of(values.begin(), values.end(),
                     [end](int32_t value) { return value >= 0 && value < end; });
}

}  // namespace

// A step that breaks these would read or write outside the buffers.
absl::Status Decoder::CheckInput(const StepInput& input) const {
  const int64_t num_tokens = input.num_tokens();
  const int64_t num_logits = static_cast<int64_t>(input.logits_rows.size());
  if (num_tokens < 1 || num_tokens > options_.max_step_tokens ||
      num_logits > options_.max_logits_rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a step of ", num_tokens, " tokens with ", num_logits, " rows of logits; expected 1 to ",
        options_.max_step_tokens, " tokens and at most ", options_.max_logits_rows, " rows"));
  }
  const int64_t num_sequences = input.num_sequences();
  const auto has_size = [](const std::vector<int32_t>& array, int64_t size) {
    return static_cast<int64_t>(array.size()) == size;
  };
  if (!has_size(input.positions, num_tokens) || !has_size(input.slot_mapping, num_tokens) ||
      !has_size(input.query_start, num_sequences + 1) ||
      !has_size(input.block_tables, num_sequences * input.max_blocks) ||
      input.query_start.front() != 0 || input.query_start.back() != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("the arrays of a step of ", num_tokens,
                                                   " tokens and ", num_sequences,
                                                   " sequences don't fit together"));
  }
  const int64_t num_blocks = kv_cache_.num_blocks();
  for (int64_t s = 0; s < num_sequences; ++s) {
    const int64_t new_tokens = input.query_start[s + 1] - input.query_start[s];
    const int64_t room = int64_t{input.max_blocks} * kernels::kBlockTokens;
    if (new_tokens < 0 || input.kv_len[s] < new_tokens || input.kv_len[s] > room) {
      return absl::InvalidArgumentError(absl::StrCat("sequence ", s, " of the step has ",
                                                     new_tokens, " new tokens, ", input.kv_len[s],
                                                     " in the cache and a block table for ", room));
    }
    // Entries behind these are never read.
    const int64_t used = (input.kv_len[s] + kernels::kBlockTokens - 1) / kernels::kBlockTokens;
    if (!AllWithin(std::span(input.block_tables).subspan(s * input.max_blocks, used), num_blocks)) {
      return absl::InvalidArgumentError(absl::StrCat("the block table of sequence ", s,
                                                     " of the step names a block outside the ",
                                                     num_blocks, " of the cache"));
    }
  }
  if (!AllWithin(input.token_ids, config_.vocab_size) ||
      !AllWithin(input.slot_mapping, num_blocks * kernels::kBlockTokens) ||
      !AllWithin(input.logits_rows, num_tokens) || !AllWithin(input.positions, int64_t{1} << 31)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a token id is outside the vocabulary's ", config_.vocab_size,
                     ", a slot outside the cache's ", num_blocks,
                     " blocks, or a row of logits outside the step's ", num_tokens, " tokens"));
  }
  return absl::OkStatus();
}

}  // namespace quartet::model
