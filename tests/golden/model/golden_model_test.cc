// The forward pass against `transformers`: every model of models.json, every instruction set, both
// compute types, 1, 2 and 4 ranks, and mistakes that must be found.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>

#include "common/logging.h"
#include "tests/golden/model/altered_checkpoint.h"
#include "tests/golden/model/golden_bounds.h"
#include "tests/golden/model/golden_run.h"
#include "worker/device/cpu_device.h"
#include "worker/model/weight_loader.h"

namespace quartet::golden {
namespace {

using kernels::DType;

// A model and its open checkpoint, made once for all tests.
struct Fixture {
  GoldenModel golden;
  std::unique_ptr<model::Checkpoint> checkpoint;
};

const Fixture& FixtureFor(const std::string& name) {
  static std::map<std::string, Fixture> fixtures;
  const auto found = fixtures.find(name);
  if (found != fixtures.end()) return found->second;
  common::SetLogLevel(common::LogLevel::kWarning);
  auto golden = GoldenModel::Create(name);
  if (!golden.ok()) ADD_FAILURE() << golden.status();
  auto checkpoint = model::OpenCheckpoint(golden->directory());
  if (!checkpoint.ok()) ADD_FAILURE() << checkpoint.status();
  return fixtures.emplace(name, Fixture{*std::move(golden), *std::move(checkpoint)}).first->second;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool Runs(const std::string& instruction_set) {
  return device::NewCpuDevice({.num_threads = 1, .instruction_set = instruction_set}).ok();
}

class GoldenModelTest : public testing::TestWithParam<std::string> {
 protected:
  const Fixture& fixture() const { return FixtureFor(GetParam()); }
  const Reference& reference() const { return fixture().golden.reference(); }

  std::vector<float> Run(const Schedule& schedule, const RunOptions& options) const {
    return Run(schedule, options, *fixture().checkpoint, fixture().golden.config());
  }
  std::vector<float> Run(const Schedule& schedule, const RunOptions& options,
                         const model::Checkpoint& checkpoint,
                         const model::ModelConfig& config) const {
    auto logits = RunGolden(checkpoint, config, schedule, options);
    if (!logits.ok()) {
      ADD_FAILURE() << logits.status();
      return std::vector<float>(reference().positions.size() * reference().vocab_size);
    }
    return *std::move(logits);
  }

  // True if the logits of both compute types are too far from the reference.
  void ExpectFound(const Schedule& schedule, const model::Checkpoint& checkpoint,
                   const model::ModelConfig& config) const {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const Bounds bounds = BoundsFor(GetParam(), dtype);
      const Comparison result =
          Compare(Run(schedule, {.dtype = dtype}, checkpoint, config), reference(), bounds.logit);
      std::printf("%s: error %.4f (bound %.4f)\n", dtype == DType::kFloat32 ? "float32" : "bf16",
                  result.max_logit_error, bounds.logit);
      EXPECT_GT(result.max_logit_error, bounds.logit);
      EXPECT_GT(result.max_projection_error, bounds.projection);
    }
  }
};

TEST_P(GoldenModelTest, TheGeneratorsAgree) {
  EXPECT_EQ(fixture().golden.WeightsChecksum(), reference().weights_checksum);
}

TEST_P(GoldenModelTest, LogitsAreTheReferences) {
  const Schedule schedule = WholeSequences(reference());
  for (const char* instruction_set : {"portable", "avx2", "avx512"}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      if (!Runs(instruction_set)) {
        std::printf("this CPU has no %s: not tested\n", instruction_set);
        continue;
      }
      const Bounds bounds = BoundsFor(GetParam(), dtype);
      const Comparison result =
          Compare(Run(schedule, {.instruction_set = instruction_set, .dtype = dtype}), reference(),
                  bounds.logit);
      const char* type = dtype == DType::kFloat32 ? "float32" : "bf16";
      std::printf(
          "%s %s %s, in standard deviations: logits %.6f, projections %.6f; argmax differs at "
          "%ld of %ld positions, %ld of them clear\n",
          GetParam().c_str(), instruction_set, type, result.max_logit_error,
          result.max_projection_error, result.num_argmax_differs, result.num_positions,
          result.num_clear);
      EXPECT_LE(result.max_logit_error, bounds.logit) << instruction_set << " " << type;
      EXPECT_LE(result.max_projection_error, bounds.projection) << instruction_set << " " << type;
      EXPECT_EQ(result.num_clear_argmax_differs, 0) << instruction_set << " " << type;
      EXPECT_GE(result.num_clear, result.num_positions * 9 / 10) << instruction_set << " " << type;
      if (dtype == DType::kFloat32) {
        EXPECT_EQ(result.num_argmax_differs, 0) << instruction_set;
      }
    }
  }
}

// One sequence alone in one step, or all in a batch, prompts in chunks and then token by token, by
// 1, 2 or 4 ranks: the same bits.
TEST_P(GoldenModelTest, BitsDependOnTheSequenceAlone) {
  const Schedule alone = WholeSequences(reference());
  const Schedule served = ServedTogether(reference());
  for (const char* instruction_set : {"portable", "avx2", "avx512"}) {
    if (!Runs(instruction_set)) continue;
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      RunOptions options{.instruction_set = instruction_set, .dtype = dtype};
      const std::vector<float> want = Run(alone, options);
      EXPECT_TRUE(SameBits(Run(served, options), want)) << instruction_set;
      for (const int world_size : {2, 4}) {
        options.world_size = world_size;
        EXPECT_TRUE(SameBits(Run(alone, options), want)) << instruction_set << world_size;
        EXPECT_TRUE(SameBits(Run(served, options), want)) << instruction_set << world_size;
      }
    }
  }
}

TEST_P(GoldenModelTest, FindsRopeThetaOnePercentOff) {
  model::ModelConfig config = fixture().golden.config();
  config.rope.theta *= 1.01;
  ExpectFound(WholeSequences(reference()), *fixture().checkpoint, config);
}

TEST_P(GoldenModelTest, FindsEpsilonTimesTen) {
  model::ModelConfig config = fixture().golden.config();
  config.rms_norm_eps *= 10;
  ExpectFound(WholeSequences(reference()), *fixture().checkpoint, config);
}

TEST_P(GoldenModelTest, FindsOneMaskedPosition) {
  ExpectFound(WithMaskedPosition(reference(), 3), *fixture().checkpoint, fixture().golden.config());
}

TEST_P(GoldenModelTest, FindsSwappedRotationPairing) {
  const model::ModelConfig& config = fixture().golden.config();
  ExpectFound(WholeSequences(reference()),
              AlteredCheckpoint(*fixture().checkpoint, config, Mistake::kRotationPairing), config);
}

TEST_P(GoldenModelTest, FindsADroppedQkvBias) {
  const model::ModelConfig& config = fixture().golden.config();
  if (!config.qkv_bias) return;  // Llama has none
  ExpectFound(WholeSequences(reference()),
              AlteredCheckpoint(*fixture().checkpoint, config, Mistake::kNoQkvBias), config);
}

TEST_P(GoldenModelTest, FindsAWrongGqaMapping) {
  const model::ModelConfig& config = fixture().golden.config();
  ExpectFound(WholeSequences(reference()),
              AlteredCheckpoint(*fixture().checkpoint, config, Mistake::kGqaMapping), config);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenModelTest,
                         testing::Values("qwen2_untied", "qwen2_tied", "llama", "qwen2_yarn"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quartet::golden
