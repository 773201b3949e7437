// Reads safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes.
// Format: github.com/huggingface/safetensors, README.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/checkpoint.h"
#include "worker/model/mapped_file.h"
#include "worker/model/tensor_file.h"

namespace quartet::model {

// Adds the tensors of `file` to `tensors`. Returns INVALID_ARGUMENT with file, tensor, what was
// found and what was expected: a header that is longer than the file or not JSON, a shape that
// doesn't match its byte range, ranges that overlap or leave the file, bytes that no tensor owns
// (so also a file that was cut short), or a name that `tensors` already has.
absl::Status AddSafetensorsFile(const MappedFile& file, TensorMap* tensors);

// Opens model.safetensors, or the files that model.safetensors.index.json names, of `directory`.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenSafetensorsDirectory(const std::string& directory);

}  // namespace quartet::model
