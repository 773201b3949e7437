#include "tests/golden/model/altered_checkpoint.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "common/status_macros.h"

namespace quartet::golden {
namespace {

bool Is(absl::string_view name, absl::string_view projection) {
  return absl::StrContains(name, projection);
}

}  // namespace

int64_t AlteredCheckpoint::Source(absl::string_view name, int64_t index) const {
  const int64_t head_dim = config_.head_dim;
  const int64_t head = index / head_dim;
  const int64_t d = index % head_dim;
  if (mistake_ == Mistake::kRotationPairing && (Is(name, "q_proj") || Is(name, "k_proj"))) {
    // Dimension pair (i, i + half) of the altered head holds the base's (2i, 2i + 1).
    const int64_t half = head_dim / 2;
    return head * head_dim + (d < half ? 2 * d : 2 * (d - half) + 1);
  }
  if (mistake_ == Mistake::kGqaMapping && (Is(name, "q_proj") || Is(name, "o_proj"))) {
    // In place j stands the query head that the wrong mapping would give to KV head j / group.
    const int64_t group = config_.num_heads / config_.num_kv_heads;
    const int64_t source_head = head % group * config_.num_kv_heads + head / group;
    return source_head * head_dim + d;
  }
  return index;
}

absl::Status AlteredCheckpoint::ReadRows(absl::string_view name, int64_t first_row,
                                         int64_t num_rows, int64_t first_col, int64_t num_cols,
                                         kernels::bfloat16* out) const {
  const std::vector<int64_t>& shape = base_.Find(name)->shape;
  std::vector<kernels::bfloat16> all(shape[0] * shape[1]);
  RETURN_IF_ERROR(base_.ReadRows(name, 0, shape[0], 0, shape[1], all.data()));
  const bool by_column = Is(name, "o_proj");
  for (int64_t row = first_row; row < first_row + num_rows; ++row) {
    for (int64_t col = first_col; col < first_col + num_cols; ++col) {
      *out++ = by_column ? all[row * shape[1] + Source(name, col)]
                         : all[Source(name, row) * shape[1] + col];
    }
  }
  return absl::OkStatus();
}

absl::Status AlteredCheckpoint::ReadVector(absl::string_view name, int64_t first, int64_t count,
                                           float* out) const {
  std::vector<float> all(base_.Find(name)->shape[0]);
  RETURN_IF_ERROR(base_.ReadVector(name, 0, static_cast<int64_t>(all.size()), all.data()));
  if (mistake_ == Mistake::kNoQkvBias && absl::EndsWith(name, ".bias")) {
    std::fill(all.begin(), all.end(), 0.0f);
  }
  for (int64_t i = 0; i < count; ++i) out[i] = all[Source(name, first + i)];
  return absl::OkStatus();
}

}  // namespace quartet::golden
