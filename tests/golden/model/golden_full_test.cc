// Qwen2.5-7B's exact widths in one layer, against `transformers`, by 1, 2 and 4 ranks. Needs 3 GB
// of disk, 7 GB of memory and some minutes, hence label large.
#include <gtest/gtest.h>

#include <cstring>

#include "common/logging.h"
#include "tests/golden/model/golden_bounds.h"
#include "tests/golden/model/golden_run.h"

namespace quartet::golden {
namespace {

constexpr char kName[] = "qwen25_7b_layer";

TEST(GoldenFullTest, LogitsAreTheReferencesAtEveryWorldSize) {
  common::SetLogLevel(common::LogLevel::kWarning);
  const auto golden = GoldenModel::Create(kName);
  ASSERT_TRUE(golden.ok()) << golden.status();
  const Reference& reference = golden->reference();
  EXPECT_EQ(golden->WeightsChecksum(), reference.weights_checksum);
  const auto checkpoint = model::OpenCheckpoint(golden->directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Schedule schedule = ServedTogether(reference);

  for (const kernels::DType dtype : {kernels::DType::kFloat32, kernels::DType::kBFloat16}) {
    const char* type = dtype == kernels::DType::kFloat32 ? "float32" : "bf16";
    const Bounds bounds = BoundsFor(kName, dtype);
    std::vector<float> one_rank;
    for (const int world_size : {1, 2, 4}) {
      const auto logits = RunGolden(**checkpoint, golden->config(), schedule,
                                    {.dtype = dtype, .world_size = world_size});
      ASSERT_TRUE(logits.ok()) << logits.status();
      if (world_size > 1) {
        ASSERT_EQ(logits->size(), one_rank.size());
        EXPECT_EQ(std::memcmp(logits->data(), one_rank.data(), one_rank.size() * sizeof(float)), 0)
            << type << " by " << world_size << " ranks";
        continue;
      }
      const Comparison result = Compare(*logits, reference, bounds.logit);
      std::printf(
          "%s, in standard deviations: logits %.6f, projections %.6f; argmax differs at %ld of %ld "
          "positions, %ld of them clear\n",
          type, result.max_logit_error, result.max_projection_error, result.num_argmax_differs,
          result.num_positions, result.num_clear);
      EXPECT_LE(result.max_logit_error, bounds.logit) << type;
      EXPECT_LE(result.max_projection_error, bounds.projection) << type;
      EXPECT_EQ(result.num_clear_argmax_differs, 0) << type;
      EXPECT_GE(result.num_clear, result.num_positions * 9 / 10) << type;
      if (dtype == kernels::DType::kFloat32) {
        EXPECT_EQ(result.num_argmax_differs, 0);
      }
      one_rank = *logits;
    }
  }
}

}  // namespace
}  // namespace quartet::golden
