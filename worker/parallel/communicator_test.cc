// Ranks are threads of this process, each with its own mapping of the segment, or forked processes.
#include "worker/parallel/communicator.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "worker/device/cpu_device.h"
#include "worker/parallel/shared_memory_communicator.h"
#include "worker/parallel/single_rank_communicator.h"

namespace quartet::parallel {
namespace {

using kernels::DevicePtr;
using testing::AllOf;
using testing::HasSubstr;

constexpr int kTotalSegments = 4;

SharedMemoryOptions Options(int world_size) {
  static std::atomic<int> number{0};
  SharedMemoryOptions options;
  options.name = absl::StrCat("/quartet_test_", getpid(), "_", ++number);
  options.epoch = 7;
  options.world_size = world_size;
  options.slot_bytes = 4096;
  options.timeout = absl::Seconds(30);
  return options;
}

// What one rank does; runs on a thread (or in a process) of its own.
using RankBody = std::function<void(Communicator&, device::Queue&)>;

void RunAsRank(SharedMemoryOptions options, int rank, const RankBody& body) {
  options.rank = rank;
  const auto device = *device::NewCpuDevice({.num_threads = 1});
  const auto queue = device->NewQueue();
  const auto communicator = SharedMemoryCommunicator::Connect(options);
  ASSERT_TRUE(communicator.ok()) << communicator.status();
  body(**communicator, *queue);
}

void RunThreads(const SharedMemoryOptions& options, const RankBody& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < options.world_size; ++rank) {
    threads.emplace_back([&, rank] { RunAsRank(options, rank, body); });
  }
  for (std::thread& thread : threads) thread.join();
}

// Numbers whose sum depends on the order of addition.
std::vector<float> RandomSegments(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(kTotalSegments * count);
  for (float& value : values) {
    value = static_cast<float>(random()) * std::ldexp(1.0f, static_cast<int>(random() % 40) - 40);
    if (random() % 2) value = -value;
  }
  return values;
}

std::vector<float> SumInOrder(const std::vector<float>& segments, int64_t count) {
  std::vector<float> sum(segments.begin(), segments.begin() + count);
  for (int s = 1; s < kTotalSegments; ++s) {
    for (int64_t i = 0; i < count; ++i) sum[i] += segments[s * count + i];
  }
  return sum;
}

// Runs an all-reduce of `all` on one rank and compares every bit.
void ReduceAndCheck(Communicator& communicator, device::Queue& queue, std::vector<float> all,
                    int64_t count) {
  const int mine = kTotalSegments / communicator.world_size();
  std::vector<float> out(count, -1);
  const absl::Status status = communicator.AllReduceSegments(
      queue, DevicePtr<const float>(all.data() + communicator.rank() * mine * count), mine, count,
      DevicePtr<float>(out.data()));
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<float> want = SumInOrder(all, count);
  ASSERT_TRUE(count == 0 || std::memcmp(out.data(), want.data(), sizeof(float) * count) == 0)
      << "world size " << communicator.world_size() << ", " << count << " elements";
}

// Counts below, at and above a slot, and where ranks divide the sum (with the large slots).
void ReduceMany(Communicator& communicator, device::Queue& queue) {
  uint32_t seed = 1;
  for (const int64_t count : {1, 16, 255, 256, 257, 1024, 1025, 5000, 20000, 0, 100003, 3}) {
    ReduceAndCheck(communicator, queue, RandomSegments(count, seed++), count);
  }
}

TEST(CommunicatorTest, OneRankSumsInSegmentOrder) {
  const auto device = *device::NewCpuDevice({.num_threads = 2});
  const auto queue = device->NewQueue();
  SingleRankCommunicator communicator;
  ReduceMany(communicator, *queue);
}

TEST(CommunicatorTest, OneRankGathersItself) {
  const auto device = *device::NewCpuDevice({.num_threads = 1});
  const auto queue = device->NewQueue();
  SingleRankCommunicator communicator;
  const std::vector<float> part = {1, 2, 3, 4, 5, 6};
  std::vector<float> out(6);
  ASSERT_TRUE(communicator
                  .GatherColumns(*queue, DevicePtr<const float>(part.data()), 2, 3,
                                 DevicePtr<float>(out.data()))
                  .ok());
  EXPECT_EQ(out, part);
  communicator.Abort();
  EXPECT_EQ(communicator
                .GatherColumns(*queue, DevicePtr<const float>(part.data()), 2, 3,
                               DevicePtr<float>(out.data()))
                .code(),
            absl::StatusCode::kAborted);
}

TEST(CommunicatorTest, ThreadsAsRanksGetTheSameBitsAtEveryWorldSize) {
  for (const int world_size : {1, 2, 4}) {
    for (const int64_t slot_bytes : {4096, 1 << 20}) {
      SharedMemoryOptions options = Options(world_size);
      options.slot_bytes = slot_bytes;
      RunThreads(options, ReduceMany);
    }
  }
}

// Many small exchanges, with ranks that are late at random: wrong buffer reuse would show.
TEST(CommunicatorTest, SlowRanksDoNotDisturbFastOnes) {
  const SharedMemoryOptions options = Options(4);
  RunThreads(options, [](Communicator& communicator, device::Queue& queue) {
    std::mt19937 random(communicator.rank());
    for (uint32_t i = 0; i < 500; ++i) {
      const int64_t count = 1 + i % 300;
      ReduceAndCheck(communicator, queue, RandomSegments(count, i), count);
      if (random() % 8 == 0) std::this_thread::yield();
      if (::testing::Test::HasFatalFailure()) return;
    }
  });
}

void GatherAndCheck(Communicator& communicator, device::Queue& queue, int64_t rows, int64_t cols) {
  std::vector<float> part(rows * cols);
  const auto value = [&](int rank, int64_t row, int64_t col) {
    return static_cast<float>((rank * rows + row) * cols + col);
  };
  for (int64_t i = 0; i < rows * cols; ++i)
    part[i] = value(communicator.rank(), i / cols, i % cols);
  const bool root = communicator.rank() == 0;
  std::vector<float> out(root ? rows * cols * communicator.world_size() : 0);
  const absl::Status status =
      communicator.GatherColumns(queue, DevicePtr<const float>(part.data()), rows, cols,
                                 root ? DevicePtr<float>(out.data()) : DevicePtr<float>());
  ASSERT_TRUE(status.ok()) << status;
  for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
    const int64_t width = cols * communicator.world_size();
    const int64_t col = i % width;
    ASSERT_EQ(out[i], value(static_cast<int>(col / cols), i / width, col % cols)) << i;
  }
}

TEST(CommunicatorTest, GathersRowsOfAllRanks) {
  for (const int world_size : {2, 3, 4}) {
    RunThreads(Options(world_size), [](Communicator& communicator, device::Queue& queue) {
      // Several rows a slot, one row a slot, several slots a row; between reductions.
      for (const auto& [rows, cols] : {std::pair{5, 100}, {3, 1024}, {3, 2500}, {0, 5}, {1, 1}}) {
        GatherAndCheck(communicator, queue, rows, cols);
        if (communicator.world_size() != 3) {
          ReduceAndCheck(communicator, queue, RandomSegments(50, rows), 50);
        }
      }
    });
  }
}

TEST(CommunicatorTest, ProcessesAsRanks) {
  const SharedMemoryOptions options = Options(4);
  std::vector<pid_t> children;
  for (int rank = 0; rank < 4; ++rank) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RunAsRank(options, rank, ReduceMany);
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "child's status " << status;
  }
  // The name is gone once all have attached.
  EXPECT_LT(shm_open(options.name.c_str(), O_RDWR, 0600), 0);
}

TEST(CommunicatorTest, AMissingRankIsNamed) {
  SharedMemoryOptions options = Options(3);
  options.call_timeout = absl::Milliseconds(300);
  std::atomic<int> checked{0};
  RunThreads(options, [&](Communicator& communicator, device::Queue& queue) {
    if (communicator.rank() == 1) {
      // Comes to no exchange; stays attached until the others have noticed.
      while (checked != 2) std::this_thread::yield();
      return;
    }
    std::vector<float> segments(8), out(8);
    const auto reduce = [&] {
      return communicator.AllReduceSegments(queue, DevicePtr<const float>(segments.data()), 1, 8,
                                            DevicePtr<float>(out.data()));
    };
    const absl::Status status = reduce();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("for rank 1"));
    // It stays failed: its arrivals are no longer those of the others.
    EXPECT_EQ(reduce(), status);
    ++checked;
    while (checked != 2) std::this_thread::yield();
  });
}

TEST(CommunicatorTest, AbortEndsAWait) {
  SharedMemoryOptions options = Options(2);
  std::atomic<Communicator*> waiting{nullptr};
  std::atomic<bool> done{false};
  RunThreads(options, [&](Communicator& communicator, device::Queue& queue) {
    if (communicator.rank() == 1) {
      while (waiting == nullptr || waiting.load()->waiting_for() != 1) std::this_thread::yield();
      waiting.load()->Abort();
      while (!done) std::this_thread::yield();
      return;
    }
    std::vector<float> segments(8), out(8);
    EXPECT_EQ(communicator.waiting_for(), -1);
    waiting = &communicator;
    const absl::Status status = communicator.AllReduceSegments(
        queue, DevicePtr<const float>(segments.data()), 1, 8, DevicePtr<float>(out.data()));
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    done = true;
  });
}

TEST(CommunicatorTest, WhenTheLeaderLeavesTheOthersStopWaiting) {
  RunThreads(Options(2), [&](Communicator& communicator, device::Queue& queue) {
    if (communicator.rank() == 0) return;
    std::vector<float> segments(8), out(8);
    const absl::Status status = communicator.AllReduceSegments(
        queue, DevicePtr<const float>(segments.data()), 1, 8, DevicePtr<float>(out.data()));
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("epoch 7"));
  });
}

TEST(CommunicatorTest, ARankOfAnOlderEpochIsRefused) {
  SharedMemoryOptions options = Options(2);
  options.timeout = absl::Milliseconds(300);
  std::thread leader([&] {
    const auto status = SharedMemorySegment::Connect(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 has not attached"));
  });
  SharedMemoryOptions late = options;
  late.rank = 1;
  late.epoch = 6;
  const auto status = SharedMemorySegment::Connect(late).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("epoch 7"), HasSubstr("epoch 6")));
  leader.join();
}

TEST(CommunicatorTest, AMissingLeaderIsNamed) {
  SharedMemoryOptions options = Options(2);
  options.rank = 1;
  options.timeout = absl::Milliseconds(50);
  const auto status = SharedMemorySegment::Connect(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 0"));
}

TEST(CommunicatorTest, WaitingAtTheStartEndsWhenThereIsAReasonTo) {
  for (const int rank : {0, 1}) {
    SharedMemoryOptions options = Options(2);
    options.rank = rank;
    int asked = 0;
    options.check = [&] {
      return ++asked < 3 ? absl::OkStatus() : absl::UnavailableError("rank 7 is gone");
    };
    EXPECT_EQ(SharedMemorySegment::Connect(options).status().message(), "rank 7 is gone");
    EXPECT_EQ(asked, 3);
    EXPECT_LT(shm_open(options.name.c_str(), O_RDWR, 0600), 0) << "no name is left";
  }
}

TEST(CommunicatorTest, LeftoversOfOneLeaderAreRemovedAndNoOthers) {
  const std::string prefix = absl::StrCat("/quartet_test_left_", getpid());
  const std::vector<std::string> names = {prefix + ".1", prefix + ".22", prefix + "1.1"};
  for (const std::string& name : names) {
    const int fd = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_GE(fd, 0);
    close(fd);
  }
  RemoveLeftoverSegments(prefix + ".");
  EXPECT_NE(shm_unlink(names[0].c_str()), 0);
  EXPECT_NE(shm_unlink(names[1].c_str()), 0);
  EXPECT_EQ(shm_unlink(names[2].c_str()), 0);
}

TEST(CommunicatorTest, RefusesOptionsThatCannotWork) {
  for (const int rank : {-1, 2}) {
    SharedMemoryOptions options = Options(2);
    options.rank = rank;
    EXPECT_EQ(SharedMemorySegment::Connect(options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  SharedMemoryOptions options = Options(2);
  options.slot_bytes = 100;
  EXPECT_EQ(SharedMemorySegment::Connect(options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options = Options(2);
  options.slot_bytes = int64_t{1} << 50;
  const auto status = SharedMemorySegment::Connect(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/shm"));
}

}  // namespace
}  // namespace quartet::parallel
