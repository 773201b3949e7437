#include "kernels/cpu/kernel_test_fixtures.h"

namespace quartet::kernels::cpu {
namespace {

using RowOperationsTest = InstructionSetTest;

// bf16 keeps 8 bits: rounding costs up to 2^-9 of the value.
double Tolerance(DType dtype) { return dtype == DType::kFloat32 ? 2e-6 : 1.0 / 256; }

TEST_P(RowOperationsTest, AddRmsNormEqualsReference) {
  for (int64_t width : {1, 5, 16, 63, 64, 200, 896}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (bool with_delta : {false, true}) {
        constexpr int64_t kTokens = 37;
        constexpr float kEpsilon = 0.25f;
        Runner runner(GetParam(), 2);
        std::vector<float> residual = RandomFloats(kTokens * width);
        const std::vector<float> delta = RandomFloats(kTokens * width);
        const std::vector<float> weight = RandomFloats(width);
        reference::Matrix want_residual = ToMatrix(residual, width);
        const reference::Matrix delta_matrix = ToMatrix(delta, width);
        const reference::Matrix want =
            reference::AddRmsNorm(&want_residual, with_delta ? &delta_matrix : nullptr,
                                  std::vector<double>(weight.begin(), weight.end()), kEpsilon);
        ActivationBuffer out(dtype, kTokens * width);
        ASSERT_TRUE(AddRmsNorm(runner.context,
                               {Ptr(residual), with_delta ? Ptr(delta) : DevicePtr<const float>(),
                                Ptr(weight), kEpsilon, kTokens, width, out.activation()})
                        .ok());
        MaxError error;
        const std::vector<float> got = out.values();
        for (size_t i = 0; i < got.size(); ++i) {
          error.Add(got[i], want.values[i], std::abs(want.values[i]) + 0.01);
        }
        EXPECT_LE(error.value(), Tolerance(dtype)) << "width " << width;
        MaxError residual_error;
        residual_error.Add(residual, want_residual);
        EXPECT_LE(residual_error.value(), 1e-6);
      }
    }
  }
}

TEST_P(RowOperationsTest, SwigluEqualsReferenceAlsoForExtremeGates) {
  for (int64_t width : {1, 3, 17, 4864, 20000}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      constexpr int64_t kTokens = 3;
      Runner runner(GetParam(), 3);
      std::vector<float> gate_up = RandomFloats(kTokens * 2 * width, 4);
      gate_up[0] = -200;
      gate_up[2 * width] = 200;
      const reference::Matrix want = reference::Swiglu(ToMatrix(gate_up, 2 * width));
      ActivationBuffer out(dtype, kTokens * width);
      ASSERT_TRUE(Swiglu(runner.context, {Ptr(gate_up), kTokens, width, out.activation()}).ok());
      MaxError error;
      const std::vector<float> got = out.values();
      for (size_t i = 0; i < got.size(); ++i) {
        error.Add(got[i], want.values[i], std::abs(want.values[i]) + 1e-3);
      }
      EXPECT_LE(error.value(), Tolerance(dtype)) << "width " << width;
    }
  }
}

TEST_P(RowOperationsTest, AnElementsBitsDontDependOnItsPlaceInTheRow) {
  Runner runner(GetParam(), 1);
  const std::vector<float> gate = RandomFloats(1, 3), up = RandomFloats(1, 3);
  std::vector<float> results;
  for (int64_t width = 1; width <= 35; ++width) {
    std::vector<float> gate_up(2 * width, gate[0]);
    std::fill(gate_up.begin() + width, gate_up.end(), up[0]);
    ActivationBuffer out(DType::kFloat32, width);
    ASSERT_TRUE(Swiglu(runner.context, {Ptr(gate_up), 1, width, out.activation()}).ok());
    results.insert(results.end(), out.f32.begin(), out.f32.end());
  }
  for (float result : results) EXPECT_EQ(result, results[0]);
}

TEST_P(RowOperationsTest, SwigluKeepsNan) {
  Runner runner(GetParam(), 1);
  std::vector<float> gate_up(8, 1.0f);
  gate_up[1] = std::numeric_limits<float>::quiet_NaN();
  gate_up[6] = std::numeric_limits<float>::quiet_NaN();
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    ActivationBuffer out(dtype, 4);
    ASSERT_TRUE(Swiglu(runner.context, {Ptr(gate_up), 1, 4, out.activation()}).ok());
    const std::vector<float> got = out.values();
    EXPECT_EQ((std::vector<bool>{std::isnan(got[0]), std::isnan(got[1]), std::isnan(got[2]),
                                 std::isnan(got[3])}),
              (std::vector<bool>{false, true, true, false}));
  }
}

TEST_P(RowOperationsTest, EmbeddingGivesOwnedRowsAndZerosForTheRest) {
  for (int64_t cols : {2, 7, 64}) {
    constexpr int64_t kRows = 70, kFirstRow = 100;
    Runner runner(GetParam(), 2);
    const std::vector<bfloat16> table = Rounded(RandomFloats(kRows * cols));
    const PackedWeight packed(table, cols);
    const std::vector<int32_t> token_ids = {100, 99, 169, 170, 0, 131, 132, 133, 100, 150};
    const int64_t tokens = static_cast<int64_t>(token_ids.size());
    std::vector<float> out(tokens * cols, std::numeric_limits<float>::quiet_NaN());
    ASSERT_TRUE(
        Embedding(runner.context, {Ptr(token_ids), tokens, packed.matrix, kFirstRow, Ptr(out)})
            .ok());
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t row = token_ids[t] - kFirstRow;
      for (int64_t k = 0; k < cols; ++k) {
        const float want = row < 0 || row >= kRows ? 0.0f : ToFloat(table[row * cols + k]);
        EXPECT_EQ(out[t * cols + k], want) << "token " << t << " column " << k;
      }
    }
  }
}

TEST_P(RowOperationsTest, GatherRowsCopies) {
  Runner runner(GetParam(), 2);
  const std::vector<float> in = RandomFloats(10 * 5);
  const std::vector<int32_t> rows = {9, 0, 3, 3};
  std::vector<float> out(4 * 5);
  ASSERT_TRUE(GatherRows(runner.context, {Ptr(in), Ptr(rows), 4, 5, Ptr(out)}).ok());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(out[i], in[rows[i / 5] * 5 + i % 5]);
}

TEST_P(RowOperationsTest, SumSegmentsAddsInOrder) {
  constexpr int64_t kCount = 5003;  // several pieces and a ragged end
  for (const int num_segments : {1, 2, 4, 7}) {
    Runner runner(GetParam(), 2);
    const std::vector<float> segments = RandomFloats(num_segments * kCount, 1000);
    std::vector<float> out(kCount);
    ASSERT_TRUE(SumSegments(runner.context, {Ptr(segments), num_segments, kCount, Ptr(out)}).ok());
    for (int64_t i = 0; i < kCount; ++i) {
      float want = segments[i];
      for (int s = 1; s < num_segments; ++s) want += segments[s * kCount + i];
      ASSERT_EQ(out[i], want) << num_segments << " segments, element " << i;
    }
  }
}

// The kernels' own rounding agrees with the type's, ties and NaN among it.
TEST_P(RowOperationsTest, RoundToBf16RoundsToNearestEven) {
  std::vector<float> values = RandomFloats(1000, 100);
  for (uint32_t bits : {0x3f808000u, 0x3f818000u, 0x3f808001u, 0x7f7fffffu, 0x7f800000u,
                        0xff800000u, 0x80000000u, 0x7fc00000u}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  std::vector<uint16_t> out(values.size());
  KernelsFor(GetParam())
      .round_to_bf16(values.data(), static_cast<int64_t>(values.size()), out.data());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(out[i], ToBfloat16(values[i]).bits) << values[i];
  }
}

QUARTET_FOR_EACH_INSTRUCTION_SET(RowOperationsTest);

}  // namespace
}  // namespace quartet::kernels::cpu
