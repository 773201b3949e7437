// How far logits may be from the reference's, in standard deviations of a position's logits.
#pragma once

#include <string>

#include "kernels/ops.h"

namespace quartet::golden {

struct Bounds {
  double logit;       // of any one logit
  double projection;  // of a sum over all logits with random signs
};

// float32: measured 0.000011 and 0.00015. bf16: measured 0.0147 and 0.24 with separate output
// weights, 0.0333 and 0.56 with tied ones, where the input token's own logit stands out; the
// largest of three instruction sets. The mistakes that must be found cause 0.028 and more (tied:
// 0.08). The model with Qwen2.5-7B's widths: 0.00001 and 0.0017, 0.0074 and 2.3: its projections
// add up 152,064 logits, and their noise grows with the square root of that.
inline Bounds BoundsFor(const std::string& model, kernels::DType dtype) {
  if (model == "qwen25_7b_layer") {
    return dtype == kernels::DType::kFloat32 ? Bounds{1e-3, 4e-3} : Bounds{0.01, 3};
  }
  if (dtype == kernels::DType::kFloat32) return {1e-3, 1e-3};
  if (model == "qwen2_tied") return {0.05, 0.75};
  return {0.018, 0.3};
}

}  // namespace quartet::golden
