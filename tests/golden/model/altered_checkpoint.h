// A checkpoint with a mistake built in, for tests that must fail: what a wrong forward pass does to
// the right weights, the right forward pass does to these.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "worker/model/checkpoint.h"
#include "worker/model/model_config.h"

namespace quartet::golden {

enum class Mistake {
  // Pairs of neighbours (2i, 2i + 1) are rotated instead of i and i + head_dim / 2.
  kRotationPairing,
  kNoQkvBias,
  // Query head j reads KV head j % num_kv_heads instead of j / (num_heads / num_kv_heads).
  kGqaMapping,
};

// Reads another checkpoint's tensors, altered. Small models only: it reads whole matrices.
class AlteredCheckpoint : public model::Checkpoint {
 public:
  // `base` must outlive this.
  AlteredCheckpoint(const model::Checkpoint& base, const model::ModelConfig& config,
                    Mistake mistake)
      : base_(base), config_(config), mistake_(mistake) {}

  const model::TensorInfo* Find(absl::string_view name) const override { return base_.Find(name); }
  std::vector<std::string> Names() const override { return base_.Names(); }
  absl::Status ReadRows(absl::string_view name, int64_t first_row, int64_t num_rows,
                        int64_t first_col, int64_t num_cols, kernels::bfloat16* out) const override;
  absl::Status ReadVector(absl::string_view name, int64_t first, int64_t count,
                          float* out) const override;
  absl::StatusOr<std::string> ContentHash() const override { return base_.ContentHash(); }
  const std::string& path() const override { return base_.path(); }
  int64_t file_bytes() const override { return base_.file_bytes(); }
  void DropPageCache() const override {}

 private:
  // For each row of q, k or column of o: which one of the base's stands there.
  int64_t Source(absl::string_view name, int64_t index) const;

  const model::Checkpoint& base_;
  const model::ModelConfig config_;
  const Mistake mistake_;
};

}  // namespace quartet::golden
