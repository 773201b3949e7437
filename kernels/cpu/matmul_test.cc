#include <cstring>

#include "kernels/cpu/kernel_test_fixtures.h"

namespace quartet::kernels::cpu {
namespace {

class MatmulTest : public InstructionSetTest {
 protected:
  static std::vector<float> Product(Runner& runner, ActivationBuffer& x, int64_t num_tokens,
                                    const PackedWeight& weight, int num_segments) {
    std::vector<float> out(num_segments * num_tokens * weight.matrix.rows,
                           std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(
        Matmul(runner.context, {x.activation(), num_tokens, weight.matrix, num_segments, Ptr(out)})
            .ok());
    return out;
  }

  // The largest error relative to the sum of the products' magnitudes.
  double RelativeError(DType dtype, int64_t num_tokens, int64_t rows, int64_t cols, int segments) {
    Runner runner(GetParam(), 2);
    const std::vector<float> weights = Expanded(Rounded(RandomFloats(rows * cols)));
    ActivationBuffer x(dtype, RandomFloats(num_tokens * cols));
    const PackedWeight packed(Rounded(weights), cols);
    const std::vector<float> out = Product(runner, x, num_tokens, packed, segments);
    reference::Matrix x_matrix = ToMatrix(x.values(), cols);
    reference::Matrix w_matrix = ToMatrix(weights, cols);
    const std::vector<reference::Matrix> want = reference::Matmul(x_matrix, w_matrix, segments);
    for (double& value : x_matrix.values) value = std::abs(value);
    for (double& value : w_matrix.values) value = std::abs(value);
    const std::vector<reference::Matrix> scale = reference::Matmul(x_matrix, w_matrix, segments);
    MaxError error;
    for (int s = 0; s < segments; ++s) {
      const float* got = out.data() + s * num_tokens * rows;
      for (int64_t i = 0; i < num_tokens * rows; ++i) {
        error.Add(got[i], want[s].values[i], scale[s].values[i]);
      }
    }
    return error.value();
  }
};

TEST_P(MatmulTest, EqualsReferenceForRaggedShapes) {
  struct Shape {
    int64_t num_tokens, rows, cols;
    int segments;
  };
  for (const Shape& shape :
       {Shape{1, 32, 2, 1}, Shape{1, 1, 64, 1}, Shape{3, 17, 30, 3}, Shape{5, 100, 36, 1},
        Shape{16, 33, 128, 4}, Shape{31, 31, 20, 2}, Shape{70, 95, 1100, 1}, Shape{300, 40, 600, 2},
        Shape{1, 896, 896, 2}, Shape{5, 40, 4864, 2}}) {
    for (DType dtype : {DType::kBFloat16, DType::kFloat32}) {
      EXPECT_LE(RelativeError(dtype, shape.num_tokens, shape.rows, shape.cols, shape.segments),
                3e-7)
          << "M=" << shape.num_tokens << " N=" << shape.rows << " K=" << shape.cols
          << " segments=" << shape.segments << " f32=" << (dtype == DType::kFloat32);
    }
  }
}

// The contract that batching, chunked prefill and resuming rest on.
TEST_P(MatmulTest, RowsHaveTheSameBitsAloneAndAmongOthersWithAnyNumberOfThreads) {
  constexpr int64_t kRows = 136, kCols = 516, kMaxTokens = 512;
  constexpr int kSegments = 2;
  const PackedWeight weight(Rounded(RandomFloats(kRows * kCols)), kCols);
  const std::vector<float> x_values = RandomFloats(kMaxTokens * kCols);
  for (DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    ActivationBuffer x(dtype, x_values);
    Runner one(GetParam(), 1);
    std::vector<float> alone;  // [T][segment][row]
    for (int64_t t = 0; t < kMaxTokens; ++t) {
      ActivationBuffer row(dtype,
                           {x_values.begin() + t * kCols, x_values.begin() + (t + 1) * kCols});
      const std::vector<float> out = Product(one, row, 1, weight, kSegments);
      alone.insert(alone.end(), out.begin(), out.end());
    }
    std::vector<int64_t> batches(69);
    std::iota(batches.begin(), batches.end(), 2);
    batches.insert(batches.end(), {128, 512});
    for (int num_threads : {1, 2, 3}) {
      Runner runner(GetParam(), num_threads);
      for (int64_t num_tokens : batches) {
        const std::vector<float> out = Product(runner, x, num_tokens, weight, kSegments);
        for (int64_t t = 0; t < num_tokens; ++t) {
          for (int s = 0; s < kSegments; ++s) {
            ASSERT_EQ(std::memcmp(&out[(s * num_tokens + t) * kRows],
                                  &alone[(t * kSegments + s) * kRows], kRows * sizeof(float)),
                      0)
                << "M=" << num_tokens << " row " << t << " segment " << s << " threads "
                << num_threads;
          }
        }
      }
    }
  }
}

TEST_P(MatmulTest, SegmentsThatDontDivideTheColumnsAreRefused) {
  Runner runner(GetParam(), 1);
  const PackedWeight weight(Rounded(RandomFloats(32 * 6)), 6);
  ActivationBuffer x(DType::kFloat32, RandomFloats(6));
  std::vector<float> out(4 * 32);
  const absl::Status status =
      Matmul(runner.context, {x.activation(), 1, weight.matrix, 2, Ptr(out)});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST_P(MatmulTest, NanInOneRowStaysInThatRow) {
  Runner runner(GetParam(), 2);
  const PackedWeight weight(Rounded(RandomFloats(40 * 64)), 64);
  std::vector<float> values = RandomFloats(5 * 64);
  values[2 * 64 + 7] = std::numeric_limits<float>::quiet_NaN();
  ActivationBuffer x(DType::kBFloat16, values);
  const std::vector<float> out = Product(runner, x, 5, weight, 1);
  for (int64_t i = 0; i < 5 * 40; ++i) EXPECT_EQ(std::isnan(out[i]), i / 40 == 2) << i;
}

TEST(PackRowsTest, OrderAndSizeOfCallsDontMatter) {
  std::mt19937 random(kTestSeed);
  constexpr int64_t kRows = 150, kCols = 34;
  std::vector<bfloat16> values(kRows * kCols);
  for (bfloat16& value : values) value.bits = static_cast<uint16_t>(random());
  const PackedWeight whole(values, kCols);
  PackedWeight parts(values, kCols);
  std::fill(parts.memory.begin(), parts.memory.end(), 0);
  for (const auto& [first, count] : {std::pair{128, 22}, {0, 1}, {1, 63}, {64, 64}}) {
    ASSERT_TRUE(PackRows(parts.matrix, first, count, values.data() + first * kCols).ok());
  }
  EXPECT_EQ(parts.memory, whole.memory);
}

TEST(PackRowsTest, RowsOutsideOfTheMatrixAreRefused) {
  std::vector<bfloat16> values(4 * 8);
  const PackedWeight weight(values, 8);
  EXPECT_EQ(PackRows(weight.matrix, 3, 2, values.data()).code(),
            absl::StatusCode::kInvalidArgument);
}

QUARTET_FOR_EACH_INSTRUCTION_SET(MatmulTest);

}  // namespace
}  // namespace quartet::kernels::cpu
