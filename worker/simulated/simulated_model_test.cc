#include "worker/simulated/simulated_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "worker/device/cpu_device.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/shared_memory_communicator.h"
#include "worker/parallel/single_rank_communicator.h"

namespace quartet::simulated {
namespace {

using kernels::kBlockTokens;

// One sequence's part of a step.
struct Part {
  std::vector<int32_t> blocks;
  int32_t first_position = 0;
  std::vector<int32_t> token_ids;
  bool wants_logits = true;  // of the last token
};

model::StepInput StepOf(const std::vector<Part>& parts) {
  model::StepInput input;
  input.query_start = {0};
  for (const Part& part : parts) {
    input.max_blocks = std::max(input.max_blocks, static_cast<int32_t>(part.blocks.size()));
  }
  for (const Part& part : parts) {
    int32_t position = part.first_position;
    for (const int32_t id : part.token_ids) {
      input.token_ids.push_back(id);
      input.positions.push_back(position);
      input.slot_mapping.push_back(part.blocks[position / kBlockTokens] * kBlockTokens +
                                   position % kBlockTokens);
      ++position;
    }
    input.query_start.push_back(static_cast<int32_t>(input.token_ids.size()));
    input.kv_len.push_back(position);
    std::vector<int32_t> table = part.blocks;
    table.resize(static_cast<size_t>(input.max_blocks));
    input.block_tables.insert(input.block_tables.end(), table.begin(), table.end());
    if (part.wants_logits) input.logits_rows.push_back(input.query_start.back() - 1);
  }
  return input;
}

class SimulatedModelTest : public testing::Test {
 protected:
  SimulatedModelTest() {
    config_.vocab_size = 1000;
    config_.hidden_size = 64;
    config_.intermediate_size = 128;
    config_.num_layers = 2;
    config_.num_heads = 4;
    config_.num_kv_heads = 2;
    config_.head_dim = 16;
    device_ = *device::NewCpuDevice({1, "portable"});
    profile_ = *ParseProfile(R"({"num_gpus": 1, "memory_gb": 24, "memory_utilization": 0.5,
        "memory_bandwidth_gb_per_s": 1000, "compute_tflop_per_s": 100, "bytes_per_value": 2,
        "step_overhead_us": 1000})",
                             "test");
    options_.num_kv_blocks = 64;
    options_.clock.now = [this] { return now_; };
    options_.clock.sleep_until = [this](double deadline) {
      sleeps_.push_back(deadline);
      now_ = std::max(now_, deadline);
    };
    Restart();
  }

  StepTime Time() const {
    return StepTime(profile_, config_, *parallel::MakeShard(model::ShardedSizesOf(config_), 0, 1));
  }

  void Restart() {
    model_ = *SimulatedModel::Create(config_, Time(), options_, *device_, communicator_);
  }

  // Greedy tokens of all parts that want logits.
  std::vector<int32_t> Run(const std::vector<Part>& parts) {
    const model::StepInput input = StepOf(parts);
    EXPECT_TRUE(model_->Forward(input).ok());
    std::vector<kernels::SampleRow> rows(input.logits_rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].logits_row = static_cast<int64_t>(i);
      rows[i].temperature = 0;
    }
    std::vector<kernels::SampledToken> sampled;
    EXPECT_TRUE(model_->Sample(rows, &sampled).ok());
    std::vector<int32_t> ids;
    for (const kernels::SampledToken& token : sampled) ids.push_back(token.token_id);
    return ids;
  }

  // Prefills `tokens` in chunks, then decodes `count` tokens.
  std::vector<int32_t> Generate(const std::vector<int32_t>& tokens, int chunk,
                                const std::vector<int32_t>& blocks, int count,
                                const std::vector<Part>& others = {}) {
    std::vector<int32_t> out;
    int32_t position = 0;
    while (static_cast<int>(out.size()) < count) {
      Part part{blocks, position, {}, true};
      if (out.empty()) {
        const auto begin = tokens.begin() + position;
        const auto end = std::min(begin + chunk, tokens.end());
        part.token_ids.assign(begin, end);
        part.wants_logits = end == tokens.end();
      } else {
        part.token_ids = {out.back()};
      }
      position += static_cast<int32_t>(part.token_ids.size());
      std::vector<Part> parts = {part};
      parts.insert(parts.end(), others.begin(), others.end());
      const std::vector<int32_t> sampled = Run(parts);
      if (part.wants_logits) out.push_back(sampled[0]);
    }
    return out;
  }

  model::ModelConfig config_;
  Profile profile_;
  std::unique_ptr<device::Device> device_;
  parallel::SingleRankCommunicator communicator_;
  SimulatedModelOptions options_;
  std::unique_ptr<SimulatedModel> model_;
  double now_ = 100;
  std::vector<double> sleeps_;
};

std::vector<int32_t> Prompt(int length) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back(i * 37 % 1000);
  return tokens;
}

TEST_F(SimulatedModelTest, ChunksBlocksAndNeighboursDoNotChangeTokens) {
  const std::vector<int32_t> expected = Generate(Prompt(50), 50, {0, 1, 2, 3, 4, 5}, 40);
  EXPECT_GT(std::set<int32_t>(expected.begin(), expected.end()).size(), 10u);
  Restart();
  EXPECT_EQ(Generate(Prompt(50), 7, {0, 1, 2, 3, 4, 5}, 40), expected);
  Restart();
  EXPECT_EQ(Generate(Prompt(50), 16, {9, 3, 60, 2, 41, 7}, 40), expected);
  Restart();
  const Part neighbour = {{20, 21}, 3, {5, 6, 7}, true};
  EXPECT_EQ(Generate(Prompt(50), 50, {0, 1, 2, 3, 4, 5}, 40, {neighbour}), expected);
  // Computed again after a preemption: prompt and output as one prompt.
  std::vector<int32_t> again = Prompt(50);
  again.insert(again.end(), expected.begin(), expected.begin() + 20);
  const std::vector<int32_t> rest = Generate(again, 70, {8, 9, 10, 11, 12, 13}, 20);
  EXPECT_EQ(rest, std::vector<int32_t>(expected.begin() + 20, expected.end()));
}

TEST_F(SimulatedModelTest, OtherPromptsGiveOtherTokens) {
  const std::vector<int32_t> expected = Generate(Prompt(50), 50, {0, 1, 2, 3, 4, 5}, 20);
  std::vector<int32_t> changed = Prompt(50);
  changed[3] += 1;
  EXPECT_NE(Generate(changed, 50, {0, 1, 2, 3, 4, 5}, 20), expected);
}

TEST_F(SimulatedModelTest, ABlockThatAnotherSequenceWritesChangesTokens) {
  const std::vector<int32_t> blocks = {0, 1, 2, 3, 4, 5};
  const std::vector<int32_t> expected = Generate(Prompt(50), 50, blocks, 40);
  Restart();
  // Block 1 is also somebody else's: one written slot of sixteen after every step.
  const Part intruder = {{30, 1}, 20, {5}, false};
  EXPECT_NE(Generate(Prompt(50), 50, blocks, 40, {intruder}), expected);
}

TEST_F(SimulatedModelTest, AWrongBlockTableOrPositionChangesTokens) {
  const std::vector<int32_t> first = Run({{{0, 1, 2, 3}, 0, Prompt(50), true}});
  const std::vector<int32_t> right = Run({{{0, 1, 2, 3}, 50, first, true}});
  EXPECT_NE(Run({{{0, 1, 2, 40}, 50, first, true}}), right);
  EXPECT_NE(Run({{{0, 1, 2, 3}, 51, first, true}}), right);
  EXPECT_EQ(Run({{{0, 1, 2, 3}, 50, first, true}}), right);
}

TEST_F(SimulatedModelTest, AStepEndsWhenTheDeviceHasDoneItAndNoSooner) {
  const Part part = {{0}, 0, {1, 2, 3}, true};
  const double seconds = Time().Seconds(WorkOf(StepOf({part})));
  EXPECT_GT(seconds, 0.001);
  Run({part});
  EXPECT_EQ(sleeps_.back(), 100 + seconds);
  // The host came late: the device idled.
  now_ = 200;
  Run({part});
  EXPECT_DOUBLE_EQ(sleeps_.back(), 200 + seconds);
}

TEST_F(SimulatedModelTest, AStepWithoutLogitsEndsInForward) {
  EXPECT_TRUE(model_->Forward(StepOf({{{0}, 0, {1, 2, 3}, false}})).ok());
  ASSERT_EQ(sleeps_.size(), 1u);
  EXPECT_GT(sleeps_[0], 100.001);
}

TEST_F(SimulatedModelTest, TheTimeScaleStretchesEverything) {
  const Part part = {{0}, 0, {1, 2, 3}, true};
  options_.time_scale = 10;
  Restart();
  Run({part});
  EXPECT_DOUBLE_EQ(sleeps_.back(), 100 + 10 * Time().Seconds(WorkOf(StepOf({part}))));
}

TEST_F(SimulatedModelTest, ACacheThatCannotBeAddressedIsRefused) {
  options_.num_kv_blocks = 0;
  EXPECT_EQ(
      SimulatedModel::Create(config_, Time(), options_, *device_, communicator_).status().code(),
      absl::StatusCode::kInvalidArgument);
}

// Runs one step on two ranks, each with its own idea of where the token goes; their statuses.
std::vector<absl::Status> RunOnTwoRanks(const std::vector<int32_t>& block_of_rank,
                                        std::vector<double>* sleeps) {
  static int number = 0;
  parallel::SharedMemoryOptions shared;
  shared.name = absl::StrCat("/quartet_simulated_test_", getpid(), "_", ++number);
  shared.epoch = 1;
  shared.world_size = 2;
  shared.slot_bytes = 4096;
  model::ModelConfig config;
  config.vocab_size = 1000;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_layers = 2;
  config.num_heads = config.num_kv_heads = 2;
  config.head_dim = 16;
  const Profile profile = *ParseProfile(
      R"({"num_gpus": 2, "memory_gb": 24, "memory_utilization": 0.5,
          "memory_bandwidth_gb_per_s": 1000, "compute_tflop_per_s": 100, "bytes_per_value": 2,
          "collective_latency_us": 20, "collective_bandwidth_gb_per_s": 10, "step_overhead_us": 5})",
      "test");
  std::vector<absl::Status> statuses(2);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      parallel::SharedMemoryOptions own = shared;
      own.rank = rank;
      const auto communicator = *parallel::SharedMemoryCommunicator::Connect(own);
      const auto device = *device::NewCpuDevice({1, "portable"});
      SimulatedModelOptions options;
      options.num_kv_blocks = 8;
      options.clock.now = [] { return 0.0; };
      options.clock.sleep_until = [rank, sleeps](double deadline) {
        EXPECT_EQ(rank, 0);
        sleeps->push_back(deadline);
      };
      const StepTime time(profile, config,
                          *parallel::MakeShard(model::ShardedSizesOf(config), rank, 2));
      const auto model = *SimulatedModel::Create(config, time, options, *device, *communicator);
      statuses[rank] = model->Forward(StepOf({{{block_of_rank[rank]}, 0, {7}, true}}));
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return statuses;
}

TEST(SimulatedRanksTest, RanksMeetHalfwayThroughTheStepAndOnlyRankZeroSleeps) {
  std::vector<double> sleeps;
  for (const absl::Status& status : RunOnTwoRanks({3, 3}, &sleeps)) EXPECT_TRUE(status.ok());
  EXPECT_EQ(sleeps.size(), 1u);  // the rest of the step passes in Sample
}

TEST(SimulatedRanksTest, RanksWhoseBlockTablesDifferFindOut) {
  std::vector<double> sleeps;
  for (const absl::Status& status : RunOnTwoRanks({3, 4}, &sleeps)) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  }
}

TEST(SteadyClockTest, SleepingEndsAfterTheDeadline) {
  const Clock clock = SteadyClock();
  const double deadline = clock.now() + 0.002;
  clock.sleep_until(deadline);
  EXPECT_GE(clock.now(), deadline - 1e-6);
}

}  // namespace
}  // namespace quartet::simulated
