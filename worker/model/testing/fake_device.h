// A device for tests of loading: packs row-major into host memory, and computes nothing.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/device/device.h"

namespace quartet::model::testing {

class FakeMemory : public device::Memory {
 public:
  explicit FakeMemory(int64_t bytes) : bytes_(bytes), data_(std::calloc(1, bytes)) {}
  ~FakeMemory() override { std::free(data_); }
  kernels::DevicePtr<void> data() const override { return kernels::DevicePtr<void>(data_); }
  int64_t bytes() const override { return bytes_; }

 private:
  int64_t bytes_;
  void* data_;
};

class FakeQueue : public device::Queue {
 public:
  absl::Status Upload(kernels::DevicePtr<void> to, const void* from, int64_t bytes) override {
    std::memcpy(to.raw(), from, bytes);
    return absl::OkStatus();
  }
  absl::Status ReadBack(void* to, kernels::DevicePtr<const void> from, int64_t bytes) override {
    std::memcpy(to, from.raw(), bytes);
    return absl::OkStatus();
  }
  absl::Status Embedding(const kernels::EmbeddingArgs&) override { return None(); }
  absl::Status AddRmsNorm(const kernels::AddRmsNormArgs&) override { return None(); }
  absl::Status Matmul(const kernels::MatmulArgs&) override { return None(); }
  absl::Status RopeTable(const kernels::RopeTableArgs&) override { return None(); }
  absl::Status RopeAndCache(const kernels::RopeAndCacheArgs&) override { return None(); }
  absl::Status Attention(const kernels::AttentionArgs&) override { return None(); }
  absl::Status Swiglu(const kernels::SwigluArgs&) override { return None(); }
  absl::Status GatherRows(const kernels::GatherRowsArgs&) override { return None(); }
  absl::Status SumSegments(const kernels::SumSegmentsArgs&) override { return None(); }
  absl::Status Sample(kernels::DevicePtr<const float>, int64_t, int64_t,
                      std::span<const kernels::SampleRow>,
                      std::vector<kernels::SampledToken>*) override {
    return None();
  }
  absl::Status Wait() override { return absl::OkStatus(); }

 private:
  static absl::Status None() {
    return absl::UnimplementedError("the fake device computes nothing");
  }
};

class FakeDevice : public device::Device {
 public:
  std::string kind() const override { return "fake"; }
  std::string numerics_id() const override { return "fake"; }
  absl::StatusOr<std::unique_ptr<device::Memory>> Allocate(int64_t bytes) override {
    if (bytes > available_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("only ", available_bytes, " bytes"));
    }
    allocated_bytes += bytes;
    return std::make_unique<FakeMemory>(bytes);
  }
  int64_t AvailableBytes() const override { return available_bytes; }
  std::unique_ptr<device::Queue> NewQueue() override { return std::make_unique<FakeQueue>(); }
  int64_t PackedBytes(int64_t rows, int64_t cols) const override { return rows * cols * 2; }
  absl::Status PackRows(const kernels::PackedMatrix& weight, int64_t first_row, int64_t num_rows,
                        const kernels::bfloat16* rows) override {
    if (first_row % 64 != 0 || first_row + num_rows > weight.rows) {
      return absl::InternalError(
          absl::StrCat("PackRows of ", num_rows, " from ", first_row, " of ", weight.rows));
    }
    if (fail_after_calls >= 0 && num_calls++ >= fail_after_calls) {
      return absl::InternalError("the fake device was told to fail");
    }
    std::memcpy(static_cast<kernels::bfloat16*>(weight.data.raw()) + first_row * weight.cols, rows,
                num_rows * weight.cols * sizeof(kernels::bfloat16));
    return absl::OkStatus();
  }
  int64_t KvBlockBytes(int, int, kernels::DType) const override { return 0; }

  int64_t available_bytes = int64_t{1} << 40;
  int64_t allocated_bytes = 0;
  int fail_after_calls = -1;  // calls of PackRows that still succeed; -1: all
  std::atomic<int> num_calls = 0;
};

// Contents of a matrix that a FakeDevice packed, row-major.
inline std::vector<kernels::bfloat16> Contents(const kernels::PackedMatrix& matrix) {
  const auto* data = static_cast<const kernels::bfloat16*>(matrix.data.raw());
  return std::vector<kernels::bfloat16>(data, data + matrix.rows * matrix.cols);
}

}  // namespace quartet::model::testing
