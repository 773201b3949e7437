#include "cli/cluster_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/service_flags.h"

namespace quartet::cli {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
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

TEST(PlanClusterTest, EachGroupHasASocketAndEachGatewayKnowsAllOfThem) {
  ClusterOptions options = Options();
  options.tensor_parallel_size = 2;
  options.num_groups = 2;
  options.num_gateways = 3;
  const auto stages = PlanCluster(options);
  ASSERT_EQ(stages[1].processes.size(), 4u);
  EXPECT_EQ(stages[1].processes[3].name, "worker rank 1 of group 1");
  EXPECT_THAT(stages[1].processes[0].argv, Contains("--address=unix:/run_dir/worker.sock"));
  EXPECT_THAT(stages[1].processes[2].argv, Contains("--address=unix:/run_dir/worker-1.sock"));
  EXPECT_THAT(stages[1].processes[3].argv,
              Contains("--leader_address=unix:/run_dir/worker-1.sock"));
  for (const auto& worker : stages[1].processes) {
    EXPECT_THAT(worker.argv, Contains("--local_ranks=4"));
  }
  ASSERT_EQ(stages[2].processes.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const auto& gateway = stages[2].processes[i];
    EXPECT_EQ(gateway.name, GatewayName(options, i));
    EXPECT_THAT(gateway.argv, Contains("--worker_address=unix:/run_dir/worker.sock,"
                                       "unix:/run_dir/worker-1.sock"));
    EXPECT_THAT(gateway.argv, Contains("--http_port=" + std::to_string(8080 + i)));
    EXPECT_THAT(gateway.argv, Contains("--announce_file=" + AnnounceFile(options, i)));
  }
  options.http_port = 0;
  EXPECT_THAT(PlanCluster(options)[2].processes[2].argv, Contains("--http_port=0"));
}

TEST(CheckPortsTest, GatewaysNeedPortsThatExistAndDoNotCollide) {
  ClusterOptions options = Options();
  options.num_gateways = 3;
  EXPECT_TRUE(CheckPorts(options).ok());
  options.http_port = 65533;
  EXPECT_TRUE(CheckPorts(options).ok());
  options.http_port = 65534;
  EXPECT_THAT(
      std::string(CheckPorts(options).message()),
      HasSubstr("--http_port=65534 with --gateways=3: the last gateway's port would be 65536"));
  options.http_port = 8080;
  options.grpc_port = 8078;
  EXPECT_THAT(std::string(CheckPorts(options).message()), HasSubstr("at least 3 apart"));
  options.grpc_port = 8083;
  EXPECT_TRUE(CheckPorts(options).ok());
  options.http_port = options.grpc_port = 0;
  EXPECT_TRUE(CheckPorts(options).ok());
  options.http_port = options.grpc_port = 9000;
  EXPECT_THAT(std::string(CheckPorts(options).message()), HasSubstr("are both 9000"));
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
