#include "cli/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace quartet::cli {
namespace {

using ::testing::HasSubstr;

SpawnOptions Shell(const std::string& script) { return {{"/bin/sh", "-c", script}, true}; }

// Everything that the child writes until it ends, and its wait status.
std::string OutputOf(const ChildProcess& child, int* wait_status) {
  std::string output;
  char buffer[256];
  while (true) {
    pollfd fd{child.output_fd, POLLIN, 0};
    poll(&fd, 1, -1);
    const ssize_t n = read(child.output_fd, buffer, sizeof(buffer));
    if (n <= 0) break;
    output.append(buffer, static_cast<size_t>(n));
  }
  close(child.output_fd);
  waitpid(child.pid, wait_status, 0);
  return output;
}

TEST(SpawnTest, CapturesBothStreamsAndTheExitCode) {
  auto child = Spawn(Shell("echo out; echo err >&2; exit 7"));
  ASSERT_TRUE(child.ok()) << child.status();
  int status = 0;
  const std::string output = OutputOf(*child, &status);
  EXPECT_THAT(output, HasSubstr("out\n"));
  EXPECT_THAT(output, HasSubstr("err\n"));
  EXPECT_EQ(DescribeExit(status), "exited with code 7");
}

TEST(SpawnTest, TheChildHasNoBlockedSignalsAndAGroupOfItsOwn) {
  sigset_t set, old;
  sigfillset(&set);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  auto child = Spawn(Shell("kill -TERM 0; sleep 100"));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ASSERT_TRUE(child.ok()) << child.status();
  int status = 0;
  OutputOf(*child, &status);
  EXPECT_EQ(DescribeExit(status), "was killed by signal 15 (Terminated)");
}

TEST(SpawnTest, NamesABinaryThatIsNotThere) {
  auto child = Spawn({{"/nonexistent/binary"}, true});
  EXPECT_TRUE(absl::IsNotFound(child.status()));
  EXPECT_THAT(std::string(child.status().message()), HasSubstr("/nonexistent/binary"));
}

// A child outlives neither a killed nor an ended parent: a middle process starts one and is killed.
TEST(SpawnTest, ChildDiesWithAKilledParent) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t middle = fork();
  if (middle == 0) {
    auto child = Spawn({{"/bin/sleep", "1000"}, false});
    const pid_t pid = child.ok() ? child->pid : -1;
    [[maybe_unused]] ssize_t n = write(fds[1], &pid, sizeof(pid));
    pause();
    _exit(0);
  }
  pid_t grandchild = -1;
  ASSERT_EQ(read(fds[0], &grandchild, sizeof(grandchild)), static_cast<ssize_t>(sizeof(pid_t)));
  ASSERT_GT(grandchild, 0);
  close(fds[1]);
  kill(middle, SIGKILL);
  waitpid(middle, nullptr, 0);
  // The grandchild holds the pipe's other end; it reads as closed when that process is gone.
  pollfd fd{fds[0], POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 10'000), 1);
  char byte;
  EXPECT_EQ(read(fds[0], &byte, 1), 0);
  close(fds[0]);
}

TEST(BinaryDirectoryTest, IsAbsolute) {
  auto directory = BinaryDirectory();
  ASSERT_TRUE(directory.ok());
  EXPECT_EQ((*directory)[0], '/');
}

}  // namespace
}  // namespace quartet::cli
