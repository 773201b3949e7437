// Reads the head of a GGUF file into a GgufFile. Only gguf.cc needs it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/gguf.h"

namespace quartet::model {

class GgufParser {
 public:
  explicit GgufParser(GgufFile* out) : out_(*out), file_(*out->file_) {}

  absl::Status Parse();

 private:
  absl::Status ParseHeader();
  absl::Status ParseKeyValue();
  absl::Status ParseTensorInfo();
  // Turns the tensors' offsets into places in the file, and checks them.
  absl::Status PlaceTensors();

  absl::Status ReadValue(absl::string_view key, GgufValueType type, GgufValue* value);
  absl::Status SkipArray(absl::string_view key, GgufValue* value);
  // A view into the mapped file, valid as long as it.
  absl::StatusOr<absl::string_view> ReadString(absl::string_view what, uint64_t max_bytes);
  template <typename T>
  absl::StatusOr<T> Read(absl::string_view what);

  uint64_t remaining() const { return static_cast<uint64_t>(file_.size() - position_); }
  absl::Status Error(absl::string_view what) const;
  absl::Status Truncated(absl::string_view what) const;

  GgufFile& out_;
  const MappedFile& file_;
  int64_t position_ = 0;
  uint64_t num_tensors_ = 0;
  uint64_t num_values_ = 0;
};

}  // namespace quartet::model
