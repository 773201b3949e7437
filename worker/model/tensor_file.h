// What all checkpoint formats share: named byte ranges of mapped files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/checkpoint.h"
#include "worker/model/mapped_file.h"

namespace quartet::model {

// A tensor's bytes: [begin, end) of `file`.
struct TensorBytes {
  TensorInfo info;
  const MappedFile* file = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
};

// Tensors under their HF names, in the order of the names.
using TensorMap = std::map<std::string, TensorBytes, std::less<>>;

// Product of the sizes, or -1 if it is larger than int64 holds or a size is below 1.
int64_t NumElements(const std::vector<int64_t>& shape);

// "[151936, 896]".
std::string ShapeText(const std::vector<int64_t>& shape);

// Returns INVALID_ARGUMENT naming both tensors if two of one file overlap.
absl::Status CheckNoOverlap(const TensorMap& tensors);

// The parts of Checkpoint that don't depend on the format.
class TensorFileCheckpoint : public Checkpoint {
 public:
  TensorFileCheckpoint(std::string path, std::vector<std::unique_ptr<MappedFile>> files,
                       TensorMap tensors)
      : path_(std::move(path)), files_(std::move(files)), tensors_(std::move(tensors)) {}

  const TensorInfo* Find(absl::string_view name) const override;
  std::vector<std::string> Names() const override;
  absl::StatusOr<std::string> ContentHash() const override;
  const std::string& path() const override { return path_; }
  int64_t file_bytes() const override;
  void DropPageCache() const override;

 protected:
  // REQUIRES: the tensor exists.
  const TensorBytes& Tensor(absl::string_view name) const;

 private:
  std::string path_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  TensorMap tensors_;
};

}  // namespace quartet::model
