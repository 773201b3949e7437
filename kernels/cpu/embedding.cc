// Embedding lookup in the packed table, which a tied lm_head shares.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// Row `row` of the packed table as f32.
void UnpackRow(const PackedMatrix& table, int64_t row, float* out) {
  const uint16_t* from = table.data.As<const uint16_t>().raw() +
                         row / kPanelColumns * PanelElements(table.cols) + row % kPanelColumns * 2;
  for (int64_t k = 0; k < table.cols; ++k) {
    out[k] = ToFloat(bfloat16{from[k / 2 * 2 * kPanelColumns + k % 2]});
  }
}

}  // namespace

absl::Status Embedding(Context& context, const EmbeddingArgs& args) {
  const int32_t* token_ids = args.token_ids.raw();
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    if (token_ids[t] < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("Embedding: token ", t, " has the id ", token_ids[t]));
    }
  }
  context.pool.ParallelForRange(args.num_tokens, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* out = args.out.raw() + t * args.table.cols;
      const int64_t row = token_ids[t] - args.first_row;
      if (row >= 0 && row < args.table.rows) {
        UnpackRow(args.table, row, out);
      } else {
        std::fill_n(out, args.table.cols, 0.0f);
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
