#include "common/heartbeat.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>

namespace quartet::common {
namespace {

using std::chrono::milliseconds;

class HeartbeatTest : public ::testing::Test {
 protected:
  HeartbeatTest() { EXPECT_EQ(pipe(fds_), 0); }
  ~HeartbeatTest() override { close(fds_[0]); }
  // Waits for a byte; false after 30 s.
  bool Read() {
    pollfd waited{fds_[0], POLLIN, 0};
    char byte = 0;
    return poll(&waited, 1, 30'000) == 1 && read(fds_[0], &byte, 1) == 1;
  }
  int fds_[2];
};

TEST_F(HeartbeatTest, BeatsAgainAndAgainUntilItEnds) {
  {
    const Heartbeat heartbeat(fds_[1], nullptr, milliseconds(1));
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(Read());
  }
  while (Read()) {
  }
  char byte = 0;
  EXPECT_EQ(read(fds_[0], &byte, 1), 0) << "the descriptor is closed";
}

TEST_F(HeartbeatTest, FallsSilentWhileTheProcessIsNotWell) {
  std::atomic<bool> is_well{true};
  std::atomic<int> asked{0};
  const Heartbeat heartbeat(
      fds_[1],
      [&] {
        ++asked;
        return is_well.load();
      },
      milliseconds(1));
  ASSERT_TRUE(Read());
  is_well = false;
  // After one more question no beat can be on its way.
  for (const int before = asked; asked < before + 2;) std::this_thread::yield();
  pollfd waited{fds_[0], POLLIN, 0};
  char bytes[256];
  while (poll(&waited, 1, 0) == 1) ASSERT_GT(read(fds_[0], bytes, sizeof(bytes)), 0);
  for (const int before = asked; asked < before + 3;) std::this_thread::yield();
  EXPECT_EQ(poll(&waited, 1, 0), 0);
  is_well = true;
  EXPECT_TRUE(Read());
}

TEST_F(HeartbeatTest, AReaderThatIsGoneDoesNoHarm) {
  close(fds_[0]);
  std::atomic<int> asked{0};
  const Heartbeat heartbeat(
      fds_[1],
      [&] {
        ++asked;
        return true;
      },
      milliseconds(1));
  while (asked < 5) std::this_thread::yield();
  fds_[0] = -1;
}

TEST(LoopMonitorTest, ALoopThatRestsIsWellOneThatIsLateIsNot) {
  LoopMonitor monitor;
  EXPECT_TRUE(monitor.IsWell(milliseconds(0)));
  monitor.Turned();
  EXPECT_TRUE(monitor.IsWell(std::chrono::hours(1)));
  EXPECT_FALSE(monitor.IsWell(milliseconds(-1)));
  monitor.Rest();
  EXPECT_TRUE(monitor.IsWell(milliseconds(-1)));
}

}  // namespace
}  // namespace quartet::common
