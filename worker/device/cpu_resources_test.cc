#include "worker/device/cpu_resources.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace quartet::device {
namespace {

// A stand-in for /proc and /sys.
class CpuResourcesTest : public testing::Test {
 protected:
  void SetUp() override { Write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n"); }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int64_t Available() const { return AvailableMemoryBytes(root_ / "proc", root_ / "sys"); }

  const std::filesystem::path root_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("cpu_resources_") +
       testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(CpuResourcesTest, WithoutAControlGroupTheMachineCounts) {
  EXPECT_EQ(Available(), 5000 * 1024);
}

TEST_F(CpuResourcesTest, TheTightestGroupOnThePathCounts) {
  Write("proc/self/cgroup", "0::/pod/worker\n");
  Write("sys/fs/cgroup/pod/worker/memory.max", "max\n");
  Write("sys/fs/cgroup/pod/worker/memory.current", "100\n");
  Write("sys/fs/cgroup/pod/memory.max", "1000000\n");
  Write("sys/fs/cgroup/pod/memory.current", "400000\n");
  EXPECT_EQ(Available(), 600000);
}

TEST_F(CpuResourcesTest, FilePagesThatCanBeDroppedAreFree) {
  Write("sys/fs/cgroup/memory.max", "1000000\n");
  Write("sys/fs/cgroup/memory.current", "900000\n");
  Write("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 300000\n");
  EXPECT_EQ(Available(), 400000);
}

TEST_F(CpuResourcesTest, AGroupOverItsLimitLeavesNothing) {
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n");
  EXPECT_EQ(Available(), 0);
}

TEST_F(CpuResourcesTest, AtLeastOneCoreIsUsable) { EXPECT_GE(UsableCores(), 1); }

}  // namespace
}  // namespace quartet::device
