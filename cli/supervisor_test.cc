#include "cli/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace quartet::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class SupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Supervisor::BlockSignals();
    directory_ = ::testing::TempDir() + "/supervisor_test." + std::to_string(getpid());
    std::filesystem::create_directories(directory_);
    options_.back_off = {milliseconds(1), milliseconds(4), milliseconds(60'000)};
    options_.heartbeat_timeout = milliseconds(0);  // these scripts have no heart
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  StageSpec Stage(const std::string& name, const std::vector<std::string>& scripts) {
    StageSpec group{name, {}, milliseconds(5000)};
    for (size_t i = 0; i < scripts.size(); ++i) {
      group.processes.push_back({name + " " + std::to_string(i),
                                 {"/bin/sh", "-c", "cd " + directory_ + "; " + scripts[i]}});
    }
    return group;
  }
  std::string Contents(const std::string& file) {
    std::ifstream in(directory_ + "/" + file);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  std::string directory_;
  SupervisorOptions options_;
};

// Ends when it is told to, and writes so.
std::string Obedient(const std::string& name) {
  return "trap 'echo " + name +
         " >> order; exit 0' TERM; echo up >> up; while :; do sleep 0.01; done";
}

TEST_F(SupervisorTest, BadConfigurationEndsItWithTheChildsLastMessage) {
  Supervisor supervisor(
      {Stage("good", {Obedient("good")}),
       Stage("bad", {"echo starting; echo num_heads 9 is not divisible by 2; exit 2"})},
      options_);
  const absl::Status status = supervisor.Run();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("bad 0 exited with code 2"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("num_heads 9 is not divisible by 2"));
}

TEST_F(SupervisorTest, GivesUpAfterThreeFailedStarts) {
  Supervisor supervisor({Stage("bad", {"echo x >> starts; exit 1"})}, options_);
  const absl::Status status = supervisor.Run();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(Contents("starts"), "x\nx\nx\n");
}

TEST_F(SupervisorTest, NamesABinaryThatIsMissing) {
  Supervisor supervisor({StageSpec{"g", {{"p", {"/nonexistent/binary"}}}, milliseconds(100)}},
                        options_);
  EXPECT_THAT(std::string(supervisor.Run().message()), HasSubstr("/nonexistent/binary"));
}

TEST_F(SupervisorTest, StopsTheLastGroupFirst) {
  Supervisor supervisor({Stage("a", {Obedient("a")}), Stage("b", {Obedient("b"), Obedient("b")}),
                         Stage("c", {Obedient("c")})},
                        options_);
  std::thread stopper([this] {
    while (Contents("up") != "up\nup\nup\nup\n") std::this_thread::yield();
    kill(getpid(), SIGTERM);
  });
  EXPECT_TRUE(supervisor.Run().ok());
  stopper.join();
  EXPECT_EQ(Contents("order"), "c\nb\nb\na\n");
}

TEST_F(SupervisorTest, OnlyTheProcessThatDiesIsStartedAgain) {
  // The first process dies until its fourth life; its neighbour must live on.
  const std::string dying =
      "while [ ! -e go -o ! -e up ]; do sleep 0.01; done; echo x >> lives; "
      "[ $(wc -l < lives) -ge 4 ] && { kill -TERM " +
      std::to_string(getpid()) + "; sleep 100; }; kill -9 $$";
  Supervisor supervisor({Stage("g", {dying, Obedient("neighbour")})}, options_);
  const int event = eventfd(1, 0);
  supervisor.Watch(event, [&] {
    uint64_t value = 0;
    ASSERT_EQ(read(event, &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
    supervisor.SetReady();
    std::ofstream(directory_ + "/go") << "";
  });
  EXPECT_TRUE(supervisor.Run().ok());
  close(event);
  EXPECT_EQ(Contents("lives"), "x\nx\nx\nx\n");
  EXPECT_EQ(Contents("up"), "up\n") << "the neighbour was started once";
  EXPECT_EQ(Contents("order"), "neighbour\n") << "and told to stop once";
}

TEST_F(SupervisorTest, AChildThatFallsSilentIsKilledAndStartedAgain) {
  options_.heartbeat_timeout = milliseconds(300);
  // Beats through the descriptor that it is given ("$1" of the script); in its first life it stops
  // itself, in its second it ends the test.
  const std::string script = "cd " + directory_ +
                             "; fd=${1#--heartbeat_fd=}; echo x >> lives; eval \"echo >&$fd\"; "
                             "[ $(wc -l < lives) -ge 2 ] || kill -STOP $$; kill -TERM " +
                             std::to_string(getpid()) +
                             "; while :; do eval \"echo >&$fd\"; sleep 0.02; done";
  Supervisor supervisor(
      {StageSpec{"g", {{"p", {"/bin/bash", "-c", script, "p"}}}, milliseconds(5000)}}, options_);
  EXPECT_TRUE(supervisor.Run().ok());
  EXPECT_EQ(Contents("lives"), "x\nx\n");
}

TEST_F(SupervisorTest, KillsAChildThatDoesNotListen) {
  StageSpec deaf = Stage("deaf", {"trap '' TERM; echo up >> up; while :; do sleep 0.01; done"});
  deaf.stop_grace = milliseconds(50);
  Supervisor supervisor({deaf}, options_);
  std::thread stopper([this] {
    while (Contents("up").empty()) std::this_thread::yield();
    kill(getpid(), SIGINT);
  });
  EXPECT_TRUE(supervisor.Run().ok());
  stopper.join();
}

TEST_F(SupervisorTest, ReplacedArgumentsHoldFromTheNextStart) {
  StageSpec group{
      "g",
      {{"p", {"/bin/sh", "-c", "cd " + directory_ + "; echo $0 >> ports; exit 1", "--port=0"}}},
      milliseconds(100)};
  Supervisor supervisor({group}, options_);
  const int event = eventfd(1, 0);
  supervisor.Watch(event, [&] {
    uint64_t value = 0;
    ASSERT_EQ(read(event, &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
    supervisor.ReplaceArgument("p", "--port=", "77");
  });
  EXPECT_FALSE(supervisor.Run().ok());
  close(event);
  EXPECT_EQ(Contents("ports"), "--port=0\n--port=77\n--port=77\n");
}

}  // namespace
}  // namespace quartet::cli
