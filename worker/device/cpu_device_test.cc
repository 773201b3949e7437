#include "worker/device/cpu_device.h"

#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quartet::device {
namespace {

using kernels::DType;
using testing::HasSubstr;

std::unique_ptr<Device> NewDevice(int num_threads = 2, const std::string& set = "auto") {
  absl::StatusOr<std::unique_ptr<Device>> device = NewCpuDevice({num_threads, set});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

TEST(CpuDeviceTest, AnUnknownInstructionSetIsRefusedByName) {
  const absl::Status status = NewCpuDevice({1, "mmx"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'mmx'"));
}

TEST(CpuDeviceTest, ANumberOfThreadsThatMakesNoSenseIsRefused) {
  for (int num_threads : {-1, 1000000}) {
    const absl::Status status = NewCpuDevice({num_threads, "auto"}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(num_threads)));
  }
}

TEST(CpuDeviceTest, SaysWhatItIs) {
  const std::unique_ptr<Device> device = NewDevice(1, "portable");
  EXPECT_EQ(device->kind(), "cpu");
  EXPECT_EQ(device->numerics_id(), "cpu-portable-v1");
}

TEST(CpuDeviceTest, MemoryIsZeroedAlignedAndApart) {
  const std::unique_ptr<Device> device = NewDevice();
  std::vector<std::unique_ptr<Memory>> memory;
  for (int64_t bytes : {1, 100, 4096, 3 << 20, 40 << 20, 0, 63 << 20}) {
    absl::StatusOr<std::unique_ptr<Memory>> piece = device->Allocate(bytes);
    ASSERT_TRUE(piece.ok()) << piece.status();
    const char* begin = (*piece)->data().As<char>().raw();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % 64, 0u);
    EXPECT_EQ((*piece)->bytes(), bytes);
    for (int64_t i = 0; i < bytes; ++i) ASSERT_EQ(begin[i], 0);
    if (bytes > 0) std::memset((*piece)->data().raw(), 0xee, static_cast<size_t>(bytes));
    memory.push_back(*std::move(piece));
    if (memory.size() == 3) memory.erase(memory.begin());  // the region lives on
  }
}

TEST(CpuDeviceTest, MoreThanThereIsIsRefusedWithTheNumbers) {
  const std::unique_ptr<Device> device = NewDevice();
  EXPECT_GT(device->AvailableBytes(), 0);
  const absl::Status status = device->Allocate(int64_t{1} << 50).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1125899906842624 bytes"));
  EXPECT_EQ(device->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CpuDeviceTest, UploadsPacksMultipliesAndReadsBack) {
  const std::unique_ptr<Device> device = NewDevice();
  const std::unique_ptr<Queue> queue = device->NewQueue();
  constexpr int64_t kRows = 70, kCols = 8;
  const auto packed = device->Allocate(device->PackedBytes(kRows, kCols)).value();
  const kernels::PackedMatrix weight = {packed->data(), kRows, kCols};
  std::vector<kernels::bfloat16> rows(kRows * kCols);
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    rows[i] = kernels::ToBfloat16(i % kCols == 3 ? static_cast<float>(i / kCols) : 0.0f);
  }
  ASSERT_TRUE(device->PackRows(weight, 64, 6, rows.data() + 64 * kCols).ok());
  ASSERT_TRUE(device->PackRows(weight, 0, 64, rows.data()).ok());
  const std::vector<float> x = {9, 9, 9, 2, 9, 9, 9, 9};
  const auto x_memory = device->Allocate(kCols * 4).value();
  const auto out = device->Allocate(kRows * 4).value();
  ASSERT_TRUE(queue->Upload(x_memory->data(), x.data(), kCols * 4).ok());
  ASSERT_TRUE(
      queue->Matmul({{x_memory->data(), DType::kFloat32}, 1, weight, 1, out->data().As<float>()})
          .ok());
  std::vector<float> got(kRows);
  ASSERT_TRUE(queue->ReadBack(got.data(), out->data(), kRows * 4).ok());
  ASSERT_TRUE(queue->Wait().ok());
  for (int64_t n = 0; n < kRows; ++n) EXPECT_EQ(got[n], 2.0f * static_cast<float>(n));
}

TEST(CpuDeviceTest, SamplesTheLikeliestTokenGreedily) {
  const std::unique_ptr<Device> device = NewDevice();
  const std::unique_ptr<Queue> queue = device->NewQueue();
  std::vector<float> logits = {0, 1, 5, 2, 9, 1, 0, 0};  // id 4 is beyond the limit
  kernels::SampleRow row;
  row.temperature = 0;
  std::vector<kernels::SampledToken> out;
  ASSERT_TRUE(
      queue->Sample(kernels::DevicePtr<const float>(logits.data()), 8, 4, {&row, 1}, &out).ok());
  ASSERT_TRUE(queue->Wait().ok());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].token_id, 2);
}

TEST(CpuDeviceTest, KvBlockBytesCountHeadsTokensAndDimensions) {
  const std::unique_ptr<Device> device = NewDevice();
  EXPECT_EQ(device->KvBlockBytes(2, 64, DType::kBFloat16), 2 * 64 * 16 * 2);
  EXPECT_EQ(device->KvBlockBytes(2, 64, DType::kFloat32), 2 * 64 * 16 * 4);
}

}  // namespace
}  // namespace quartet::device
