#include "cli/cluster_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/service_flags.h"

namespace quartet::cli {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Not;
using ::testing::StartsWith;

ClusterOptions Options() {
  ClusterOptions options;
  options.binary_dir = "/bin_dir";
  options.runtime_dir = "/run_dir";
  options.model = "/m";
  return options;
}

TEST(PlanClusterTest, StartsTokenizerThenWorkersThenGateway) {
  ClusterOptions options = Options();
  options.tensor_parallel_size = 3;
  const auto groups = PlanCluster(options);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].processes[0].argv[0], "/bin_dir/quartet-tokenizer");
  EXPECT_EQ(groups[1].processes.size(), 3u);
  EXPECT_EQ(groups[2].processes[0].argv[0], "/bin_dir/quartet-gateway");
  for (const auto& group : groups) {
    for (const auto& process : group.processes) {
      EXPECT_THAT(process.argv, Contains("--die_with_parent"));
    }
  }
}

TEST(PlanClusterTest, TheLeaderListensWhereTheOthersConnect) {
  ClusterOptions options = Options();
  options.tensor_parallel_size = 2;
  const auto groups = PlanCluster(options);
  EXPECT_THAT(groups[1].processes[0].argv, Contains("--address=unix:/run_dir/worker.sock"));
  EXPECT_THAT(groups[1].processes[1].argv, Contains("--leader_address=unix:/run_dir/worker.sock"));
  EXPECT_THAT(groups[1].processes[1].argv, Contains("--rank=1"));
  EXPECT_THAT(groups[1].processes[1].argv, Contains("--world_size=2"));
  EXPECT_THAT(groups[2].processes[0].argv, Contains("--worker_address=unix:/run_dir/worker.sock"));
  EXPECT_THAT(groups[2].processes[0].argv,
              Contains("--tokenizer_address=unix:/run_dir/tokenizer.sock"));
}

TEST(PlanClusterTest, AFlagGoesToEveryServiceThatHasIt) {
  ClusterOptions options = Options();
  options.service_flags = {{"log_level", "debug"}, {"max_num_seqs", "7"}, {"header_hold_ms", "9"}};
  const auto groups = PlanCluster(options);
  for (const auto& group : groups) {
    EXPECT_THAT(group.processes[0].argv, Contains("--log_level=debug"));
  }
  EXPECT_THAT(groups[1].processes[0].argv, Contains("--max_num_seqs=7"));
  EXPECT_THAT(groups[0].processes[0].argv, Each(Not(StartsWith("--max_num_seqs"))));
  EXPECT_THAT(groups[2].processes[0].argv, Each(Not(StartsWith("--max_num_seqs"))));
  EXPECT_THAT(groups[2].processes[0].argv, Contains("--header_hold_ms=9"));
}

TEST(PlanClusterTest, TheGatewayMayDrainBeforeItIsKilled) {
  ClusterOptions options = Options();
  options.service_flags = {{"drain_timeout_ms", "60000"}};
  EXPECT_EQ(PlanCluster(options)[2].stop_grace, std::chrono::milliseconds(65'000));
}

TEST(ServiceFlagsTest, NamesAreUnique) {
  std::vector<std::string> names;
  for (const auto& flag : ServiceFlags()) names.emplace_back(flag.name);
  for (const auto& flag : OwnedServiceFlags()) names.emplace_back(flag.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace quartet::cli
