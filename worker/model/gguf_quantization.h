// The number formats inside GGUF files and how to get plain numbers out of them.
// Layouts: ggml's ggml-common.h; formulas: dequantize_row_* in ggml-quants.c.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace quartet::model {

// One format that can be loaded. A row is a sequence of blocks; a block's numbers share scales,
// most finely within a sub-block, which is the smallest piece that can be dequantised.
struct GgmlType {
  uint32_t id;
  const char* name;  // "Q4_K"
  int block_elements;
  int block_bytes;
  int sub_block_elements;
  // Dequantises sub-blocks [begin, end) of one block.
  void (*dequantize)(const uint8_t* block, int begin, int end, float* out);
};

// Null if the type can't be loaded.
const GgmlType* FindGgmlType(uint32_t id);
const GgmlType* FindGgmlType(absl::string_view name);
// Also of types that can't be loaded; "unknown" if ggml has none with this number.
absl::string_view GgmlTypeName(uint32_t id);
// "F32, F16, ...": those that can be loaded.
absl::string_view LoadableGgmlTypes();

// Elements [first, first + count) of a row, dequantised in fp32. Touches only the blocks that hold
// them, and computes only their sub-blocks.
void DequantizeRange(const GgmlType& type, const uint8_t* row, int64_t first, int64_t count,
                     float* out);

}  // namespace quartet::model
