// A file mapped for reading, whose pages can be let go again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quartet::model {

// Thread-safe. A file that is cut short while it is mapped ends the process with SIGBUS, as with
// every mapping; model files are not to be changed in place.
class MappedFile {
 public:
  // Returns NOT_FOUND or FAILED_PRECONDITION with the path if it can't be opened or isn't a file.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  const uint8_t* data() const { return data_; }

  // Gives the pages that hold bytes [begin, end) back; a later read maps them again.
  void Release(int64_t begin, int64_t end) const;
  // Copies bytes without mapping them. Returns DATA_LOSS if the file is shorter by now.
  absl::Status ReadAt(int64_t offset, int64_t bytes, void* out) const;
  // Asks the kernel to drop what it caches of the file.
  void DropPageCache() const;

 private:
  MappedFile() = default;

  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
  const uint8_t* data_ = nullptr;
};

// Reads a whole small file. Returns NOT_FOUND, or INVALID_ARGUMENT if it is larger than
// `max_bytes`.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, int64_t max_bytes);

}  // namespace quartet::model
