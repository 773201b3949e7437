#include "worker/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::model {
namespace {

absl::Status ErrnoStatus(absl::string_view what, const std::string& path) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  std::unique_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file->fd_ < 0) return ErrnoStatus("can't open", path);
  struct stat info;
  if (fstat(file->fd_, &info) != 0) return ErrnoStatus("can't stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": not a regular file"));
  }
  file->size_ = info.st_size;
  if (file->size_ == 0)
    return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
  void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, file->fd_, 0);
  if (data == MAP_FAILED) return ErrnoStatus("can't map", path);
  file->data_ = static_cast<const uint8_t*>(data);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
  if (fd_ >= 0) close(fd_);
}

void MappedFile::Release(int64_t begin, int64_t end) const {
  // Outwards to whole pages: a neighbour who still reads one simply maps it again.
  const int64_t page = sysconf(_SC_PAGESIZE);
  begin = begin / page * page;
  end = std::min((end + page - 1) / page * page, (size_ + page - 1) / page * page);
  if (begin >= end) return;
  madvise(const_cast<uint8_t*>(data_) + begin, end - begin, MADV_DONTNEED);
}

absl::Status MappedFile::ReadAt(int64_t offset, int64_t bytes, void* out) const {
  char* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = pread(fd_, to, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("can't read", path_);
    if (got == 0) {
      return absl::DataLossError(
          absl::StrCat(path_, ": the file has become shorter than ", offset + bytes, " bytes"));
    }
    to += got;
    offset += got;
    bytes -= got;
  }
  return absl::OkStatus();
}

void MappedFile::DropPageCache() const { posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED); }

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, int64_t max_bytes) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  if (file->size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has ", file->size(), " bytes; at most ",
                                                   max_bytes, " are expected of such a file"));
  }
  std::string text(file->size(), '\0');
  RETURN_IF_ERROR(file->ReadAt(0, file->size(), text.data()));
  return text;
}

}  // namespace quartet::model
