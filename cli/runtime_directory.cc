#include "cli/runtime_directory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace quartet::cli {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kPrefix = "quartet-";
// sockaddr_un takes 107 bytes; our names need about 40 of them.
constexpr size_t kLongestBase = 60;

std::string ChooseBase() {
  const char* const runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/' && strlen(runtime) <= kLongestBase &&
      access(runtime, W_OK | X_OK) == 0) {
    return runtime;
  }
  return "/tmp";
}

// Leaders name the shared memory of a group that forms after the socket that they listen on, with
// dots for slashes; who was killed at that moment leaves it.
void RemoveSegments(const std::string& directory) {
  std::string prefix = absl::StrCat(kPrefix, directory, ".");
  for (char& c : prefix) {
    if (c == '/') c = '.';
  }
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
    if (absl::StartsWith(entry.path().filename().string(), prefix)) {
      fs::remove(entry.path(), ignored);
    }
  }
}

// Folders without a lock file are left alone: their owner may just be making them, or they are
// somebody else's.
void RemoveStale(const std::string& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base, ignored)) {
    if (!absl::StartsWith(entry.path().filename().string(), kPrefix)) continue;
    ScopedFd lock(open((entry.path() / "lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (lock.get() < 0 || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    RemoveSegments(entry.path());
    fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<RuntimeDirectory>> RuntimeDirectory::Create(absl::string_view base) {
  const std::string parent = base.empty() ? ChooseBase() : std::string(base);
  RemoveStale(parent);
  std::string path = absl::StrCat(parent, "/", kPrefix, "XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return absl::PermissionDeniedError(absl::StrCat("can't make a folder for sockets in ", parent,
                                                    ": ", strerror(errno),
                                                    "; set XDG_RUNTIME_DIR to a writable one"));
  }
  // Locked under another name first, so that nobody ever sees the lock file unlocked.
  const std::string temporary = path + "/lock.new";
  const int fd = open(temporary.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 || flock(fd, LOCK_EX) != 0 ||
      rename(temporary.c_str(), (path + "/lock").c_str()) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    fs::remove_all(path);
    return absl::PermissionDeniedError(
        absl::StrCat("can't make a lock file in ", path, ": ", strerror(error)));
  }
  return std::unique_ptr<RuntimeDirectory>(new RuntimeDirectory(path, fd));
}

RuntimeDirectory::~RuntimeDirectory() {
  std::error_code ignored;
  RemoveSegments(path_);
  fs::remove_all(path_, ignored);
}

}  // namespace quartet::cli
