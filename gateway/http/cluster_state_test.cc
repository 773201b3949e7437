#include "gateway/http/cluster_state.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

GroupState SomeGroup(std::string address, uint64_t num_tokens) {
  GroupState group;
  group.address = std::move(address);
  group.info.device = "cpu";
  group.info.numerics_id = "cpu/avx512/bf16";
  group.info.kv_block_tokens = 16;
  group.info.ranks = {{0, 4711, 1000, 2000, 3000}, {1, 4712, 1001, 2000, 3001}};
  group.load = {5, 6, 70, 100};
  group.healthy = true;
  group.num_tokens = num_tokens;
  return group;
}

TEST(ClusterStateTest, SaysWhatRunsAndHowBusyItIs) {
  ServerState state;
  state.serving = true;
  auto model = std::make_shared<ModelFacts>();
  model->name = "toy";
  model->max_model_len = 2048;
  state.model = model;
  state.group.architecture = "qwen2";
  const json body =
      json::parse(ClusterStateJson(state, {SomeGroup("unix:/a", 12), SomeGroup("unix:/b", 13)},
                                   {absl::Milliseconds(1500), 50051}));
  EXPECT_EQ(body["serving"], true);
  EXPECT_EQ(body["uptime_seconds"], 1.5);
  EXPECT_EQ(body["grpc_port"], 50051);
  EXPECT_EQ(body["model"]["name"], "toy");
  EXPECT_EQ(body["model"]["max_model_len"], 2048);
  ASSERT_EQ(body["groups"].size(), 2u);
  const json& group = body["groups"][0];
  EXPECT_EQ(group["address"], "unix:/a");
  EXPECT_EQ(group["num_running"], 5);
  EXPECT_EQ(group["num_waiting"], 6);
  EXPECT_EQ(group["num_used_kv_blocks"], 70);
  EXPECT_EQ(group["generated_tokens"], 12);
  EXPECT_EQ(group["draining"], false);
  ASSERT_EQ(group["ranks"].size(), 2u);
  EXPECT_EQ(group["ranks"][1]["pid"], 4712);
  EXPECT_EQ(group["ranks"][1]["weight_bytes"], 1001);
  EXPECT_EQ(body["groups"][1]["generated_tokens"], 13);
}

TEST(ClusterStateTest, WithoutWorkersItSaysWhy) {
  ServerState state;
  state.reason = "no worker has attached yet";
  const json body = json::parse(ClusterStateJson(state, {}, {}));
  EXPECT_EQ(body["serving"], false);
  EXPECT_EQ(body["reason"], "no worker has attached yet");
  EXPECT_TRUE(body["model"].is_null());
  EXPECT_TRUE(body["groups"].empty());
}

}  // namespace
}  // namespace quartet::gateway::http
