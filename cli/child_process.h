// Starts one child process and says how it ended. Knows nothing of restarts.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quartet::cli {

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is the path of the binary
  // stdout and stderr go into a pipe whose other end is ChildProcess::output_fd, stdin is empty,
  // and the child gets a process group of its own, so that Ctrl-C reaches the parent alone. If
  // false, all three are the parent's.
  bool capture_output = false;
  // The child gets --heartbeat_fd=N as a further argument, the writing end of a pipe whose other
  // end is ChildProcess::heartbeat_fd.
  bool heartbeat = false;
};

struct ChildProcess {
  pid_t pid = 0;
  int output_fd = -1;     // both are non-blocking; the caller closes them
  int heartbeat_fd = -1;  // -1 without SpawnOptions::heartbeat
};

// Starts a child that the kernel sends SIGTERM when the calling thread ends, also if that one is
// killed. Call it from the main thread only: to the kernel the parent is a thread. Returns
// NOT_FOUND or PERMISSION_DENIED with the path if it can't be run.
absl::StatusOr<ChildProcess> Spawn(const SpawnOptions& options);

// "exited with code 2" or "was killed by signal 9 (Killed)", from waitpid's status.
std::string DescribeExit(int wait_status);

// Closes a descriptor when it goes out of scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd = -1) : fd_(fd) {}
  ~ScopedFd() { Reset(); }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  int get() const { return fd_; }
  int Release();
  void Reset(int fd = -1);

 private:
  int fd_;
};

// Folder of the running binary; its siblings lie there.
absl::StatusOr<std::string> BinaryDirectory();

}  // namespace quartet::cli
