// A private folder for the sockets of one local cluster, removed with its owner.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/child_process.h"

namespace quartet::cli {

class RuntimeDirectory {
 public:
  // Makes BASE/quartet-XXXXXX, readable by this user alone. First removes folders of that kind
  // whose owner was killed. Without `base`: $XDG_RUNTIME_DIR if it is usable (writable, and short
  // enough for a socket's path), else /tmp.
  static absl::StatusOr<std::unique_ptr<RuntimeDirectory>> Create(absl::string_view base = "");
  ~RuntimeDirectory();

  const std::string& path() const { return path_; }

 private:
  RuntimeDirectory(std::string path, int lock_fd) : path_(std::move(path)), lock_(lock_fd) {}

  std::string path_;
  ScopedFd lock_;  // a lock that the kernel lets go when the owner dies
};

}  // namespace quartet::cli
