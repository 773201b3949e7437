// The container of a GGUF file, versions 2 and 3: metadata and where the tensors lie.
// Format: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/mapped_file.h"

namespace quartet::model {

enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A metadata value. Arrays are only counted, not read.
struct GgufValue {
  GgufValueType type = GgufValueType::kUint8;
  int64_t integer = 0;  // integers and bool; an uint64 above INT64_MAX has type kUint64 and is < 0
  double number = 0;    // floats
  std::string text;
  uint64_t num_elements = 0;  // arrays
};

struct GgufTensor {
  uint32_t type = 0;
  std::vector<int64_t> shape;  // rows first: the reverse of the file's order
  int64_t begin = 0;           // bytes in the file
  int64_t end = 0;
};

// Nothing that the file says is trusted: every count is checked against the file's size before
// memory is taken.
class GgufFile {
 public:
  // Returns INVALID_ARGUMENT with the file, the key or tensor, the value and what was expected.
  static absl::StatusOr<GgufFile> Open(const std::string& path);

  const MappedFile& file() const { return *file_; }
  std::unique_ptr<MappedFile> TakeFile() && { return std::move(file_); }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  // Null if absent.
  const GgufTensor* FindTensor(absl::string_view name) const;
  const GgufValue* Find(absl::string_view key) const;

  // Unset if absent; INVALID_ARGUMENT if the type or the range doesn't fit.
  absl::StatusOr<std::optional<int64_t>> Int(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> RequiredInt(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<std::optional<double>> Number(absl::string_view key, double min, double max,
                                               bool min_included = false) const;
  absl::StatusOr<std::optional<bool>> Bool(absl::string_view key) const;
  absl::StatusOr<std::optional<std::string>> Text(absl::string_view key) const;
  absl::Status Error(absl::string_view key, absl::string_view expected) const;

 private:
  friend class GgufParser;

  std::unique_ptr<MappedFile> file_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace quartet::model
