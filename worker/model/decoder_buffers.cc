#include "worker/model/decoder_buffers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::model {
namespace {

using kernels::DevicePtr;

// Places arrays one after another behind `base`; with a null base it only counts bytes.
class Layout {
 public:
  explicit Layout(DevicePtr<char> base) : base_(base) {}

  template <typename T>
  DevicePtr<T> Array(int64_t count) {
    return Take(count * static_cast<int64_t>(sizeof(T))).template As<T>();
  }
  kernels::Activation Activation(int64_t count, kernels::DType dtype) {
    return {Take(count * kernels::SizeOf(dtype)).As<void>(), dtype};
  }
  int64_t bytes() const { return bytes_; }

 private:
  DevicePtr<char> Take(int64_t bytes) {
    constexpr int64_t kAlignment = 256;
    const int64_t first = bytes_;
    bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return base_ ? base_ + first : base_;
  }

  const DevicePtr<char> base_;
  int64_t bytes_ = 0;
};

DecoderBuffers Place(const ModelConfig& config, const parallel::Shard& shard,
                     const DecoderOptions& options, Layout& layout) {
  const int64_t tokens = options.max_step_tokens;
  const int64_t rows = options.max_logits_rows;
  const int64_t hidden = config.hidden_size;
  const int64_t heads_width = static_cast<int64_t>(shard.num_heads) * shard.head_dim;
  const kernels::DType dtype = options.compute_dtype;

  DecoderBuffers buffers;
  buffers.residual = layout.Array<float>(tokens * hidden);
  buffers.delta = layout.Array<float>(tokens * hidden);
  buffers.segments = layout.Array<float>(shard.num_segments * tokens * hidden);
  buffers.normed = layout.Activation(tokens * hidden, dtype);
  buffers.cos_sin = layout.Array<float>(tokens * shard.head_dim);
  buffers.qkv = layout.Array<float>(tokens * shard.qkv_rows());
  buffers.q = layout.Activation(tokens * heads_width, dtype);
  buffers.attention = layout.Activation(tokens * heads_width, dtype);
  buffers.gate_up = layout.Array<float>(tokens * 2 * shard.intermediate_size);
  buffers.gated = layout.Activation(tokens * shard.intermediate_size, dtype);
  buffers.last = layout.Array<float>(rows * hidden);
  buffers.last_delta = layout.Array<float>(rows * hidden);
  buffers.last_normed = layout.Activation(rows * hidden, dtype);
  buffers.logits_part = layout.Array<float>(rows * shard.vocab_rows);
  if (shard.world_size == 1) {
    buffers.logits = buffers.logits_part;
  } else if (shard.rank == 0) {
    buffers.logits = layout.Array<float>(rows * shard.padded_vocab_size());
  }
  buffers.inverse_frequencies = layout.Array<double>(shard.head_dim / 2);
  return buffers;
}

}  // namespace

int64_t DecoderBuffersBytes(const ModelConfig& config, const parallel::Shard& shard,
                            const DecoderOptions& options) {
  Layout layout((DevicePtr<char>()));
  Place(config, shard, options, layout);
  return layout.bytes();
}

absl::StatusOr<DecoderBuffers> CreateDecoderBuffers(device::Device& device,
                                                    const ModelConfig& config,
                                                    const parallel::Shard& shard,
                                                    const DecoderOptions& options) {
  ASSIGN_OR_RETURN(const RopeFrequencies rope,
                   ComputeRopeFrequencies(config.rope, config.head_dim, options.max_model_len));
  auto memory = device.Allocate(DecoderBuffersBytes(config, shard, options));
  if (!memory.ok()) {
    return absl::Status(memory.status().code(),
                        absl::StrCat("activations for steps of ", options.max_step_tokens,
                                     " tokens with ", options.max_logits_rows, " rows of logits: ",
                                     memory.status().message(), "; allow fewer"));
  }
  Layout layout((*memory)->data().As<char>());
  DecoderBuffers buffers = Place(config, shard, options, layout);
  buffers.memory = *std::move(memory);
  buffers.rope_scale = rope.attention_factor;
  const auto queue = device.NewQueue();
  RETURN_IF_ERROR(
      queue->Upload(buffers.inverse_frequencies.As<void>(), rope.inverse_frequencies.data(),
                    static_cast<int64_t>(rope.inverse_frequencies.size() * sizeof(double))));
  RETURN_IF_ERROR(queue->Wait());
  return buffers;
}

absl::Status StepArrays::Upload(const StepInput& input, device::Queue& queue) {
  const std::pair<const std::vector<int32_t>*, DevicePtr<const int32_t>*> arrays[] = {
      {&input.token_ids, &token_ids},
      {&input.positions, &positions},
      {&input.slot_mapping, &slot_mapping},
      {&input.query_start, &query_start},
      {&input.kv_len, &kv_len},
      {&input.block_tables, &block_tables},
      {&input.logits_rows, &logits_rows}};
  staged_.clear();
  for (const auto& [from, to] : arrays) staged_.insert(staged_.end(), from->begin(), from->end());
  const auto bytes = static_cast<int64_t>(staged_.size() * sizeof(int32_t));
  if (memory_ == nullptr || memory_->bytes() < bytes) {
    memory_ = nullptr;
    ASSIGN_OR_RETURN(memory_, device_.Allocate(std::max<int64_t>(2 * bytes, 1 << 16)));
  }
  const auto base = memory_->data().As<int32_t>();
  int64_t first = 0;
  for (const auto& [from, to] : arrays) {
    *to = base + first;
    first += static_cast<int64_t>(from->size());
  }
  return queue.Upload(memory_->data(), staged_.data(), bytes);
}

}  // namespace quartet::model
