// A model's files as named tensors, whatever their format. Names, shapes and the order of rows are
// HF's ("model.layers.0.self_attn.q_proj.weight", [out_features, in_features]) for GGUF too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/bfloat16.h"

namespace quartet::model {

struct TensorInfo {
  std::string dtype;  // as the file calls it: "BF16", "Q4_K"
  std::vector<int64_t> shape;
  std::string file;           // for messages
  bool is_float_data = true;  // whether ReadRows and ReadVector know the dtype
};

// Thread-safe. Files are mapped, and the pages of a read are let go when it ends, so that what has
// been read doesn't count as this process's memory.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Null if there is no such tensor.
  virtual const TensorInfo* Find(absl::string_view name) const = 0;

  // All tensors, in the order of their names.
  virtual std::vector<std::string> Names() const = 0;

  // Reads rows [first_row, first_row + num_rows) and columns [first_col, first_col + num_cols) of a
  // matrix into `out` [num_rows, num_cols], rounded to nearest even. Touches no other part of the
  // file. REQUIRES: the tensor exists, is_float_data, has two dimensions and contains the range.
  virtual absl::Status ReadRows(absl::string_view name, int64_t first_row, int64_t num_rows,
                                int64_t first_col, int64_t num_cols,
                                kernels::bfloat16* out) const = 0;

  // Reads elements [first, first + count) of a vector into `out`, not rounded. REQUIRES: the tensor
  // exists, is_float_data, has one dimension and contains the range.
  virtual absl::Status ReadVector(absl::string_view name, int64_t first, int64_t count,
                                  float* out) const = 0;

  // SHA-256 in hex over every tensor's name, dtype, shape and a sample of its bytes (the first, the
  // middle and the last 256), and over the files' sizes; tensors in the order of their names.
  virtual absl::StatusOr<std::string> ContentHash() const = 0;

  // The directory or file that was opened, for messages.
  virtual const std::string& path() const = 0;

  // Bytes of all files.
  virtual int64_t file_bytes() const = 0;

  // Asks the kernel to drop the files from the page cache.
  virtual void DropPageCache() const = 0;
};

// Opens a directory with safetensors (model.safetensors.index.json, or model.safetensors alone) or
// a .gguf file. Reads headers only. Returns NOT_FOUND or INVALID_ARGUMENT with the file, the tensor
// or field, what was found and what was expected.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path);

}  // namespace quartet::model
