#include "cli/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "absl/strings/str_cat.h"

namespace quartet::cli {
namespace {

// Runs in the child between fork and exec, so only async-signal-safe calls. Does not return.
[[noreturn]] void RunChild(char* const* argv, const SpawnOptions& options, pid_t parent,
                           int output_fd, int heartbeat_fd, int error_fd) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  // The parent may have died before prctl.
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  if (options.capture_output) {
    setpgid(0, 0);
    const int null_fd = open("/dev/null", O_RDONLY);
    dup2(null_fd, STDIN_FILENO);
    dup2(output_fd, STDOUT_FILENO);
    dup2(output_fd, STDERR_FILENO);
  }
  // The only one that outlives exec.
  if (heartbeat_fd >= 0) fcntl(heartbeat_fd, F_SETFD, 0);
  execv(argv[0], argv);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(error_fd, &error, sizeof(error));
  _exit(127);
}

absl::Status ExecError(const std::string& path, int error) {
  const std::string message = absl::StrCat("can't run ", path, ": ", strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::PermissionDeniedError(message);
}

}  // namespace

int ScopedFd::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void ScopedFd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

absl::StatusOr<ChildProcess> Spawn(const SpawnOptions& options) {
  int output[2] = {-1, -1}, heartbeat[2] = {-1, -1};
  if ((options.capture_output && pipe2(output, O_CLOEXEC) != 0) ||
      (options.heartbeat && pipe2(heartbeat, O_CLOEXEC) != 0)) {
    return absl::ResourceExhaustedError(absl::StrCat("no pipe for a child: ", strerror(errno)));
  }
  ScopedFd heartbeat_read(heartbeat[0]), heartbeat_write(heartbeat[1]);
  const std::string heartbeat_flag = absl::StrCat("--heartbeat_fd=", heartbeat[1]);
  std::vector<char*> argv;
  for (const std::string& argument : options.argv)
    argv.push_back(const_cast<char*>(argument.c_str()));
  if (options.heartbeat) argv.push_back(const_cast<char*>(heartbeat_flag.c_str()));
  argv.push_back(nullptr);

  ScopedFd output_read(output[0]), output_write(output[1]);
  int error[2];
  if (pipe2(error, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no pipe for a child: ", strerror(errno)));
  }
  ScopedFd error_read(error[0]), error_write(error[1]);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("can't fork: ", strerror(errno)));
  }
  if (pid == 0) RunChild(argv.data(), options, parent, output[1], heartbeat[1], error[1]);

  error_write.Reset();
  int exec_errno = 0;
  // The pipe closes without a word when exec succeeds.
  if (read(error_read.get(), &exec_errno, sizeof(exec_errno)) == sizeof(exec_errno)) {
    waitpid(pid, nullptr, 0);
    return ExecError(options.argv[0], exec_errno);
  }
  if (options.capture_output) fcntl(output_read.get(), F_SETFL, O_NONBLOCK);
  if (options.heartbeat) fcntl(heartbeat_read.get(), F_SETFL, O_NONBLOCK);
  return ChildProcess{pid, output_read.Release(), heartbeat_read.Release()};
}

std::string DescribeExit(int wait_status) {
  if (WIFEXITED(wait_status)) {
    return absl::StrCat("exited with code ", WEXITSTATUS(wait_status));
  }
  const int number = WTERMSIG(wait_status);
  return absl::StrCat("was killed by signal ", number, " (", strsignal(number), ")");
}

absl::StatusOr<std::string> BinaryDirectory() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) return absl::InternalError("can't read /proc/self/exe");
  const std::string full(path, static_cast<size_t>(length));
  return full.substr(0, full.rfind('/'));
}

}  // namespace quartet::cli
