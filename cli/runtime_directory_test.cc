#include "cli/runtime_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace quartet::cli {
namespace {

namespace fs = std::filesystem;

class RuntimeDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = ::testing::TempDir() + "/runtime_directory_test." + std::to_string(getpid());
    fs::create_directories(base_);
  }
  void TearDown() override { fs::remove_all(base_); }
  std::string base_;
};

TEST_F(RuntimeDirectoryTest, IsPrivateAndGoesWithItsOwner) {
  std::string path;
  {
    auto directory = RuntimeDirectory::Create(base_);
    ASSERT_TRUE(directory.ok()) << directory.status();
    path = (*directory)->path();
    struct stat info;
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    std::ofstream(path + "/socket") << "";
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(RuntimeDirectoryTest, RemovesWhatAKilledOwnerLeft) {
  const pid_t child = fork();
  if (child == 0) {
    // _exit runs no destructors, as when killed.
    auto directory = RuntimeDirectory::Create(base_);
    _exit(directory.ok() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  auto living = RuntimeDirectory::Create(base_);
  ASSERT_TRUE(living.ok());
  auto second = RuntimeDirectory::Create(base_);
  ASSERT_TRUE(second.ok());
  // Two living ones; the dead child's is gone.
  EXPECT_EQ(std::distance(fs::directory_iterator(base_), fs::directory_iterator()), 2);
  EXPECT_TRUE(fs::exists((*living)->path()));
}

TEST_F(RuntimeDirectoryTest, LeavesOthersFoldersAlone) {
  fs::create_directories(base_ + "/quartet-somebody");
  ASSERT_TRUE(RuntimeDirectory::Create(base_).ok());
  EXPECT_TRUE(fs::exists(base_ + "/quartet-somebody"));
}

TEST_F(RuntimeDirectoryTest, SaysWhatToDoWithoutAWritableFolder) {
  auto directory = RuntimeDirectory::Create(base_ + "/nonexistent");
  ASSERT_FALSE(directory.ok());
  EXPECT_NE(std::string(directory.status().message()).find("XDG_RUNTIME_DIR"), std::string::npos);
}

}  // namespace
}  // namespace quartet::cli
