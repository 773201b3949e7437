#include "worker/model/tensor_file.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/model/sha256.h"

namespace quartet::model {

int64_t NumElements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 1 || __builtin_mul_overflow(count, size, &count)) return -1;
  }
  return count;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status CheckNoOverlap(const TensorMap& tensors) {
  std::vector<const TensorMap::value_type*> sorted;
  sorted.reserve(tensors.size());
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::tie(a->second.file, a->second.begin, a->second.end) <
           std::tie(b->second.file, b->second.begin, b->second.end);
  });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const auto& [name, tensor] = *sorted[i - 1];
    const auto& [next_name, next] = *sorted[i];
    if (tensor.file == next.file && next.begin < tensor.end) {
      return absl::InvalidArgumentError(absl::StrCat(
          tensor.info.file, ": tensor ", next_name, " begins at byte ", next.begin, ", inside ",
          name, ", which ends at ", tensor.end, "; tensors must not overlap"));
    }
  }
  return absl::OkStatus();
}

const TensorInfo* TensorFileCheckpoint::Find(absl::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second.info;
}

std::vector<std::string> TensorFileCheckpoint::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

const TensorBytes& TensorFileCheckpoint::Tensor(absl::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  QUARTET_CHECK(found != tensors_.end());
  return found->second;
}

absl::StatusOr<std::string> TensorFileCheckpoint::ContentHash() const {
  constexpr int64_t kSample = 256;
  Sha256 hash;
  std::vector<int64_t> sizes;
  for (const auto& file : files_) sizes.push_back(file->size());
  std::sort(sizes.begin(), sizes.end());
  for (const int64_t size : sizes) hash.AddInt(size);
  std::string sample;
  for (const auto& [name, tensor] : tensors_) {
    hash.AddText(name);
    hash.AddText(tensor.info.dtype);
    hash.AddText(ShapeText(tensor.info.shape));
    const int64_t bytes = tensor.end - tensor.begin;
    const int64_t count = std::min(kSample, bytes);
    for (const int64_t at : {int64_t{0}, (bytes - count) / 2, bytes - count}) {
      sample.resize(count);
      RETURN_IF_ERROR(tensor.file->ReadAt(tensor.begin + at, count, sample.data()));
      hash.AddText(sample);
    }
  }
  return hash.Hex();
}

int64_t TensorFileCheckpoint::file_bytes() const {
  int64_t bytes = 0;
  for (const auto& file : files_) bytes += file->size();
  return bytes;
}

void TensorFileCheckpoint::DropPageCache() const {
  for (const auto& file : files_) file->DropPageCache();
}

}  // namespace quartet::model
