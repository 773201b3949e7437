// Rows of bf16 weights into panels; layout.h says where each element goes.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// Rows [0, count) of `rows` into columns [first, first + count) of one panel.
void PackIntoPanel(const bfloat16* rows, int64_t cols, int first, int count, uint16_t* panel) {
  const int64_t full_pairs = cols / 2;
  for (int64_t pair = 0; pair < full_pairs; ++pair) {
    uint16_t* to = panel + (pair * kPanelColumns + first) * 2;
    for (int i = 0; i < count; ++i) {
      to[2 * i] = rows[i * cols + 2 * pair].bits;
      to[2 * i + 1] = rows[i * cols + 2 * pair + 1].bits;
    }
  }
  if (cols % 2 != 0) {
    uint16_t* to = panel + (full_pairs * kPanelColumns + first) * 2;
    for (int i = 0; i < count; ++i) {
      to[2 * i] = rows[i * cols + cols - 1].bits;
      to[2 * i + 1] = 0;
    }
  }
}

}  // namespace

int64_t PackedBytes(int64_t rows, int64_t cols) {
  return NumPanels(rows) * PanelElements(cols) * static_cast<int64_t>(sizeof(uint16_t));
}

absl::Status PackRows(const PackedMatrix& weight, int64_t first_row, int64_t num_rows,
                      const bfloat16* rows) {
  if (first_row < 0 || num_rows < 0 || first_row + num_rows > weight.rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("PackRows: rows [", first_row, ", ", first_row + num_rows,
                     ") are outside of a matrix of ", weight.rows, " rows"));
  }
  uint16_t* packed = weight.data.As<uint16_t>().raw();
  for (int64_t row = 0; row < num_rows;) {
    const int64_t target = first_row + row;
    const int first = static_cast<int>(target % kPanelColumns);
    const int count = static_cast<int>(std::min<int64_t>(kPanelColumns - first, num_rows - row));
    PackIntoPanel(rows + row * weight.cols, weight.cols, first, count,
                  packed + target / kPanelColumns * PanelElements(weight.cols));
    row += count;
  }
  return absl::OkStatus();
}

int64_t KvBlockBytes(int num_kv_heads, int head_dim, DType dtype) {
  return num_kv_heads * HeadBlockElements(head_dim) * SizeOf(dtype);
}

}  // namespace quartet::kernels::cpu
