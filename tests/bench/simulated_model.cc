#include "tests/bench/simulated_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status_macros.h"
#include "tests/bench/machine_peaks.h"

namespace quartet::bench {
namespace {

using kernels::Activation;
using kernels::DevicePtr;
using kernels::DType;

Activation Bf16(DevicePtr<void> data) { return {data, DType::kBFloat16}; }

// Adds the time since `*since` to `*to` and starts anew.
void Count(double* since, double* to) {
  const double now = Seconds();
  *to += now - *since;
  *since = now;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SimulatedModel>> SimulatedModel::Create(device::Device& device,
                                                                       const ModelShape& shape,
                                                                       int64_t max_tokens,
                                                                       int64_t max_context,
                                                                       int64_t max_sequences) {
  std::unique_ptr<SimulatedModel> model(new SimulatedModel(device, shape));
  RETURN_IF_ERROR(model->Allocate(max_tokens, max_context, max_sequences));
  return model;
}

absl::StatusOr<DevicePtr<void>> SimulatedModel::NewMemory(int64_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<device::Memory> memory, device_.Allocate(bytes));
  const DevicePtr<void> data = memory->data();
  memory_.push_back(std::move(memory));
  return data;
}

absl::StatusOr<kernels::PackedMatrix> SimulatedModel::NewMatrix(int64_t rows, int64_t cols) {
  ASSIGN_OR_RETURN(const DevicePtr<void> data, NewMemory(device_.PackedBytes(rows, cols)));
  const kernels::PackedMatrix matrix = {data, rows, cols};
  constexpr int64_t kRowsAtOnce = 64;
  std::vector<kernels::bfloat16> values(kRowsAtOnce * cols);
  uint64_t state = static_cast<uint64_t>(rows * cols) | 1;
  for (kernels::bfloat16& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = kernels::ToBfloat16((static_cast<float>(state >> 40) * 0x1p-24f - 0.5f) * 0.1f);
  }
  for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
    RETURN_IF_ERROR(
        device_.PackRows(matrix, row, std::min(kRowsAtOnce, rows - row), values.data()));
  }
  return matrix;
}

absl::Status SimulatedModel::Allocate(int64_t max_tokens, int64_t max_context,
                                      int64_t max_sequences) {
  const ModelShape& s = shape_;
  max_blocks_ = (max_context + kernels::kBlockTokens - 1) / kernels::kBlockTokens;
  const int64_t num_blocks = max_blocks_ * max_sequences;
  ASSIGN_OR_RETURN(table_, NewMatrix(s.vocab_size, s.hidden_size));
  const int64_t block_bytes = device_.KvBlockBytes(s.num_kv_heads, s.head_dim, DType::kBFloat16);
  for (int i = 0; i < s.num_layers; ++i) {
    Layer layer;
    ASSIGN_OR_RETURN(layer.qkv, NewMatrix(s.qkv_width(), s.hidden_size));
    ASSIGN_OR_RETURN(layer.o, NewMatrix(s.hidden_size, int64_t{s.num_heads} * s.head_dim));
    ASSIGN_OR_RETURN(layer.gate_up, NewMatrix(2 * s.intermediate_size, s.hidden_size));
    ASSIGN_OR_RETURN(layer.down, NewMatrix(s.hidden_size, s.intermediate_size));
    layer.cache = {{}, {}, DType::kBFloat16, num_blocks, s.num_kv_heads, s.head_dim};
    ASSIGN_OR_RETURN(layer.cache.keys, NewMemory(num_blocks * block_bytes));
    ASSIGN_OR_RETURN(layer.cache.values, NewMemory(num_blocks * block_bytes));
    layers_.push_back(layer);
  }
  const auto floats = [&](int64_t count, DevicePtr<float>* out) -> absl::Status {
    ASSIGN_OR_RETURN(const DevicePtr<void> data, NewMemory(count * 4));
    *out = data.As<float>();
    return absl::OkStatus();
  };
  const auto ints = [&](int64_t count, DevicePtr<int32_t>* out) -> absl::Status {
    ASSIGN_OR_RETURN(const DevicePtr<void> data, NewMemory(count * 4));
    *out = data.As<int32_t>();
    return absl::OkStatus();
  };
  const int64_t heads_width = int64_t{s.num_heads} * s.head_dim;
  ASSIGN_OR_RETURN(hidden_, NewMemory(max_tokens * s.hidden_size * 2));
  ASSIGN_OR_RETURN(q_, NewMemory(max_tokens * heads_width * 2));
  ASSIGN_OR_RETURN(attention_out_, NewMemory(max_tokens * heads_width * 2));
  ASSIGN_OR_RETURN(activated_, NewMemory(max_tokens * s.intermediate_size * 2));
  RETURN_IF_ERROR(floats(max_tokens * s.hidden_size, &residual_));
  RETURN_IF_ERROR(floats(max_tokens * s.hidden_size, &delta_));
  RETURN_IF_ERROR(floats(max_tokens * 2 * s.intermediate_size, &wide_));
  RETURN_IF_ERROR(floats(max_tokens * s.hidden_size * s.num_kv_heads, &segments_));
  RETURN_IF_ERROR(floats(max_tokens * s.head_dim, &cos_sin_));
  RETURN_IF_ERROR(floats(s.hidden_size, &weight_));
  RETURN_IF_ERROR(floats(max_sequences * s.vocab_size, &logits_));
  ASSIGN_OR_RETURN(const DevicePtr<void> frequencies, NewMemory(s.head_dim * 4));
  frequencies_ = frequencies.As<double>();
  for (DevicePtr<int32_t>* array : {&ids_, &positions_, &slots_}) {
    RETURN_IF_ERROR(ints(max_tokens, array));
  }
  for (DevicePtr<int32_t>* array : {&query_start_, &kv_len_, &rows_}) {
    RETURN_IF_ERROR(ints(max_sequences + 1, array));
  }
  RETURN_IF_ERROR(ints(num_blocks, &tables_));
  std::fill_n(weight_.raw(), s.hidden_size, 1.0f);
  for (int i = 0; i < s.head_dim / 2; ++i) {
    frequencies_.raw()[i] = std::pow(1e6, -2.0 * i / s.head_dim);
  }
  for (int64_t i = 0; i < num_blocks; ++i) tables_.raw()[i] = static_cast<int32_t>(i);
  return absl::OkStatus();
}

void SimulatedModel::SetStep(int64_t num_sequences, int64_t num_tokens, int64_t context) {
  query_start_.raw()[0] = 0;
  for (int64_t s = 0; s < num_sequences; ++s) {
    for (int64_t i = 0; i < num_tokens; ++i) {
      const int64_t t = s * num_tokens + i;
      const int64_t position = context + i;
      ids_.raw()[t] = static_cast<int32_t>(t * 2654435761u % shape_.vocab_size);
      positions_.raw()[t] = static_cast<int32_t>(position);
      slots_.raw()[t] = static_cast<int32_t>(s * max_blocks_ * kernels::kBlockTokens + position);
    }
    query_start_.raw()[s + 1] = static_cast<int32_t>((s + 1) * num_tokens);
    kv_len_.raw()[s] = static_cast<int32_t>(context + num_tokens);
    rows_.raw()[s] = static_cast<int32_t>((s + 1) * num_tokens - 1);
  }
}

absl::Status SimulatedModel::SumSegments(int64_t num_tokens) {
  return queue_->SumSegments(
      {segments_, shape_.num_kv_heads, num_tokens * shape_.hidden_size, delta_});
}

absl::Status SimulatedModel::RunLayer(const Layer& layer, int64_t num_sequences, int64_t total,
                                      PassTimes* times) {
  const ModelShape& s = shape_;
  const DevicePtr<const float> no_bias;
  constexpr float kEpsilon = 1e-6f;
  const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  double since = Seconds();
  RETURN_IF_ERROR(queue_->AddRmsNorm(
      {residual_, delta_, weight_, kEpsilon, total, s.hidden_size, Bf16(hidden_)}));
  Count(&since, &times->rest);
  RETURN_IF_ERROR(queue_->Matmul({Bf16(hidden_), total, layer.qkv, 1, wide_}));
  Count(&since, &times->matmul);
  RETURN_IF_ERROR(queue_->RopeAndCache(
      {wide_, no_bias, cos_sin_, slots_, total, s.num_heads, Bf16(q_), layer.cache}));
  Count(&since, &times->rest);
  RETURN_IF_ERROR(
      queue_->Attention({Bf16(q_), layer.cache, query_start_, kv_len_, tables_, num_sequences,
                         max_blocks_, total, s.num_heads, scale, Bf16(attention_out_)}));
  Count(&since, &times->attention);
  RETURN_IF_ERROR(
      queue_->Matmul({Bf16(attention_out_), total, layer.o, s.num_kv_heads, segments_}));
  Count(&since, &times->matmul);
  RETURN_IF_ERROR(SumSegments(total));
  RETURN_IF_ERROR(queue_->AddRmsNorm(
      {residual_, delta_, weight_, kEpsilon, total, s.hidden_size, Bf16(hidden_)}));
  Count(&since, &times->rest);
  RETURN_IF_ERROR(queue_->Matmul({Bf16(hidden_), total, layer.gate_up, 1, wide_}));
  Count(&since, &times->matmul);
  RETURN_IF_ERROR(queue_->Swiglu({wide_, total, s.intermediate_size, Bf16(activated_)}));
  Count(&since, &times->rest);
  RETURN_IF_ERROR(queue_->Matmul({Bf16(activated_), total, layer.down, s.num_kv_heads, segments_}));
  Count(&since, &times->matmul);
  RETURN_IF_ERROR(SumSegments(total));
  Count(&since, &times->rest);
  return absl::OkStatus();
}

absl::Status SimulatedModel::RunLogits(int64_t num_sequences, int64_t total, PassTimes* times) {
  double since = Seconds();
  RETURN_IF_ERROR(queue_->GatherRows({residual_, rows_, num_sequences, shape_.hidden_size, wide_}));
  RETURN_IF_ERROR(queue_->AddRmsNorm(
      {wide_, {}, weight_, 1e-6f, num_sequences, shape_.hidden_size, Bf16(hidden_)}));
  RETURN_IF_ERROR(queue_->Matmul({Bf16(hidden_), num_sequences, table_, 1, logits_}));
  Count(&since, &times->lm_head);
  return absl::OkStatus();
}

absl::StatusOr<PassTimes> SimulatedModel::Forward(int64_t num_sequences, int64_t num_tokens,
                                                  int64_t context) {
  const int64_t total = num_sequences * num_tokens;
  PassTimes times;
  SetStep(num_sequences, num_tokens, context);
  double since = Seconds();
  RETURN_IF_ERROR(queue_->Embedding({ids_, total, table_, 0, residual_}));
  std::fill_n(delta_.raw(), total * shape_.hidden_size, 0.0f);
  RETURN_IF_ERROR(
      queue_->RopeTable({positions_, frequencies_, 1.0, total, shape_.head_dim, cos_sin_}));
  Count(&since, &times.rest);
  for (const Layer& layer : layers_) {
    RETURN_IF_ERROR(RunLayer(layer, num_sequences, total, &times));
  }
  RETURN_IF_ERROR(RunLogits(num_sequences, total, &times));
  return times;
}

}  // namespace quartet::bench
