#include "worker/device/cpu_device.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cpu/thread_pool.h"
#include "worker/device/cpu_memory.h"
#include "worker/device/cpu_resources.h"

namespace quartet::device {
namespace {

namespace cpu = kernels::cpu;

// Raised with every change of a kernel that changes bits.
constexpr int kKernelVersion = 1;

constexpr int kMaxThreads = 1024;

// Runs each operation at once; Wait() has nothing to wait for.
class CpuQueue : public Queue {
 public:
  CpuQueue(const cpu::KernelTable& table, cpu::ThreadPool& pool, cpu::PathCounters* paths)
      : context_{table, pool, {}, {}, {}, paths} {}

  absl::Status Upload(kernels::DevicePtr<void> to, const void* from, int64_t bytes) override {
    std::memcpy(to.raw(), from, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  absl::Status ReadBack(void* to, kernels::DevicePtr<const void> from, int64_t bytes) override {
    std::memcpy(to, from.raw(), static_cast<size_t>(bytes));
    return absl::OkStatus();
  }

  absl::Status Embedding(const kernels::EmbeddingArgs& args) override {
    return cpu::Embedding(context_, args);
  }
  absl::Status AddRmsNorm(const kernels::AddRmsNormArgs& args) override {
    return cpu::AddRmsNorm(context_, args);
  }
  absl::Status Matmul(const kernels::MatmulArgs& args) override {
    return cpu::Matmul(context_, args);
  }
  absl::Status RopeTable(const kernels::RopeTableArgs& args) override {
    return cpu::RopeTable(context_, args);
  }
  absl::Status RopeAndCache(const kernels::RopeAndCacheArgs& args) override {
    return cpu::RopeAndCache(context_, args);
  }
  absl::Status Attention(const kernels::AttentionArgs& args) override {
    return cpu::Attention(context_, args);
  }
  absl::Status Swiglu(const kernels::SwigluArgs& args) override {
    return cpu::Swiglu(context_, args);
  }
  absl::Status GatherRows(const kernels::GatherRowsArgs& args) override {
    return cpu::GatherRows(context_, args);
  }
  absl::Status SumSegments(const kernels::SumSegmentsArgs& args) override {
    return cpu::SumSegments(context_, args);
  }

  absl::Status Sample(kernels::DevicePtr<const float> logits, int64_t vocab_size,
                      int64_t sample_limit, std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override {
    return cpu::Sample(logits.raw(), vocab_size, sample_limit, rows, &context_.pool, out);
  }

  absl::Status Wait() override { return absl::OkStatus(); }

 private:
  cpu::Context context_;
};

class CpuDevice : public Device {
 public:
  CpuDevice(const cpu::KernelTable& table, int num_threads, cpu::PathCounters* paths)
      : table_(table), pool_(num_threads), paths_(paths) {}

  std::string kind() const override { return "cpu"; }
  std::string numerics_id() const override {
    return absl::StrCat("cpu-", table_.numerics_name, "-v", kKernelVersion);
  }

  absl::StatusOr<std::unique_ptr<Memory>> Allocate(int64_t bytes) override {
    if (bytes < 0) {
      return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
    }
    const int64_t available = AvailableBytes();
    if (bytes > available) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "cannot allocate ", bytes, " bytes: ", available, " bytes of memory are available"));
    }
    return allocator_.Allocate(bytes);
  }
  int64_t AvailableBytes() const override { return AvailableMemoryBytes(); }
  std::unique_ptr<Queue> NewQueue() override {
    return std::make_unique<CpuQueue>(table_, pool_, paths_);
  }

  int64_t PackedBytes(int64_t rows, int64_t cols) const override {
    return cpu::PackedBytes(rows, cols);
  }
  absl::Status PackRows(const kernels::PackedMatrix& weight, int64_t first_row, int64_t num_rows,
                        const kernels::bfloat16* rows) override {
    return cpu::PackRows(weight, first_row, num_rows, rows);
  }

  int64_t KvBlockBytes(int num_kv_heads, int head_dim, kernels::DType dtype) const override {
    return cpu::KvBlockBytes(num_kv_heads, head_dim, dtype);
  }

 private:
  const cpu::KernelTable& table_;
  cpu::ThreadPool pool_;
  cpu::PathCounters* const paths_;
  CpuMemoryAllocator allocator_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> NewCpuDevice(const CpuDeviceOptions& options) {
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat("num_threads is ", options.num_threads,
                                                   "; use 0 for all cores, or 1 to ", kMaxThreads));
  }
  ASSIGN_OR_RETURN(const cpu::InstructionSet instruction_set,
                   cpu::ParseInstructionSet(options.instruction_set));
  const int num_threads = options.num_threads > 0 ? options.num_threads : UsableCores();
  return std::unique_ptr<Device>(
      new CpuDevice(cpu::KernelsFor(instruction_set), num_threads, options.path_counters));
}

}  // namespace quartet::device
