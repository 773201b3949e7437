// What the kernels' tests share: every instruction set with any number of threads, seeded data,
// packed weights, a poisoned paged cache, and an error maximum in which a NaN stays.
#pragma once

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/operations.h"
#include "kernels/reference/reference.h"

namespace quartet::kernels::cpu {

inline constexpr uint32_t kTestSeed = 20240607;

// A pool and what operations need around it.
struct Runner {
  ThreadPool pool;
  Context context;

  Runner(InstructionSet instruction_set, int num_threads)
      : pool(num_threads), context{KernelsFor(instruction_set), pool, {}, {}, {}} {}
};

class InstructionSetTest : public testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "this CPU has no " << Name(GetParam());
    RecordProperty("seed", static_cast<int>(kTestSeed));
  }
  std::mt19937 random_{kTestSeed};

  std::vector<float> RandomFloats(int64_t size, float deviation = 1) {
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(static_cast<size_t>(size));
    for (float& value : values) value = normal(random_);
    return values;
  }
};

#define QUARTET_FOR_EACH_INSTRUCTION_SET(suite)                                                   \
  INSTANTIATE_TEST_SUITE_P(                                                                       \
      InstructionSets, suite,                                                                     \
      testing::Values(InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512), \
      [](const auto& info) { return std::string(Name(info.param)); })

template <typename T>
DevicePtr<T> Ptr(std::vector<T>& values) {
  return DevicePtr<T>(values.data());
}
template <typename T>
DevicePtr<const T> Ptr(const std::vector<T>& values) {
  return DevicePtr<const T>(values.data());
}

inline std::vector<bfloat16> Rounded(const std::vector<float>& values) {
  std::vector<bfloat16> rounded;
  for (float value : values) rounded.push_back(ToBfloat16(value));
  return rounded;
}
inline std::vector<float> Expanded(const std::vector<bfloat16>& values) {
  std::vector<float> expanded;
  for (bfloat16 value : values) expanded.push_back(ToFloat(value));
  return expanded;
}

inline reference::Matrix ToMatrix(const std::vector<float>& values, int64_t cols) {
  reference::Matrix matrix(static_cast<int64_t>(values.size()) / cols, cols);
  matrix.values.assign(values.begin(), values.end());
  return matrix;
}

// Activations in either dtype, filled with NaN until written.
struct ActivationBuffer {
  DType dtype;
  std::vector<float> f32;
  std::vector<bfloat16> bf16;

  ActivationBuffer(DType type, int64_t size) : dtype(type) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    f32.assign(type == DType::kFloat32 ? size : 0, nan);
    bf16.assign(type == DType::kBFloat16 ? size : 0, ToBfloat16(nan));
  }
  ActivationBuffer(DType type, const std::vector<float>& values) : dtype(type) {
    (type == DType::kFloat32) ? void(f32 = values) : void(bf16 = Rounded(values));
  }
  Activation activation() {
    if (dtype == DType::kFloat32) return {DevicePtr<void>(f32.data()), dtype};
    return {DevicePtr<void>(bf16.data()), dtype};
  }
  std::vector<float> values() const { return dtype == DType::kFloat32 ? f32 : Expanded(bf16); }
};

// A packed matrix with the memory it lies in.
struct PackedWeight {
  std::vector<uint16_t> memory;
  PackedMatrix matrix;

  PackedWeight(const std::vector<bfloat16>& values, int64_t cols) {
    const int64_t rows = static_cast<int64_t>(values.size()) / cols;
    memory.assign(PackedBytes(rows, cols) / 2, 0);
    matrix = {DevicePtr<void>(memory.data()), rows, cols};
    EXPECT_TRUE(PackRows(matrix, 0, rows, values.data()).ok());
  }
};

// The largest |got - want| / scale. A NaN stays in it, and then no bound holds.
class MaxError {
 public:
  void Add(double got, double want, double scale = 1) {
    const double error = std::abs(got - want) / scale;
    if (!std::isnan(value_) && !(error <= value_)) value_ = error;
  }
  void Add(const std::vector<float>& got, const reference::Matrix& want) {
    ASSERT_EQ(got.size(), want.values.size());
    for (size_t i = 0; i < got.size(); ++i) Add(got[i], want.values[i]);
  }
  double value() const { return value_; }

 private:
  double value_ = 0;
};

// One layer's cache with a shuffled block table for each sequence; everything starts as NaN.
class PagedCache {
 public:
  PagedCache(DType dtype, int num_kv_heads, int head_dim, int num_sequences, int max_tokens,
             std::mt19937* random)
      : max_blocks_((max_tokens + kBlockTokens - 1) / kBlockTokens) {
    const int64_t num_blocks = int64_t{num_sequences} * max_blocks_ + 3;
    const int64_t bytes = num_blocks * KvBlockBytes(num_kv_heads, head_dim, dtype);
    keys_.assign(bytes, 0xff);  // all bits set is a NaN in bf16 and in f32
    values_.assign(bytes, 0xff);
    layer_ = {DevicePtr<void>(keys_.data()),
              DevicePtr<void>(values_.data()),
              dtype,
              num_blocks,
              num_kv_heads,
              head_dim};
    tables_.resize(num_blocks);
    std::iota(tables_.begin(), tables_.end(), 0);
    std::shuffle(tables_.begin(), tables_.end(), *random);
    tables_.resize(int64_t{num_sequences} * max_blocks_);
  }

  int32_t Slot(int sequence, int position) const {
    return tables_[sequence * max_blocks_ + position / kBlockTokens] * kBlockTokens +
           position % kBlockTokens;
  }
  const KvCacheLayer& layer() const { return layer_; }
  const std::vector<int32_t>& tables() const { return tables_; }
  int64_t max_blocks() const { return max_blocks_; }

 private:
  const int64_t max_blocks_;
  std::vector<uint8_t> keys_, values_;
  KvCacheLayer layer_;
  std::vector<int32_t> tables_;
};

}  // namespace quartet::kernels::cpu
