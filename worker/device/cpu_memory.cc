#include "worker/device/cpu_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::device {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int64_t kSharedRegionBytes = int64_t{64} << 20;
// A cache line; also what the widest vector load likes.
constexpr int64_t kAlignmentBytes = 64;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

// Whole huge pages.
class CpuMemoryAllocator::Region {
 public:
  static absl::StatusOr<std::shared_ptr<Region>> Map(int64_t bytes) {
    const int64_t size = RoundUp(bytes, kHugePageBytes);
    // One huge page more, to have room to begin at a multiple.
    const int64_t mapped = size + kHugePageBytes;
    void* memory = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat("cannot map ", mapped, " bytes of memory: ", std::strerror(errno)));
    }
    const auto address = reinterpret_cast<uintptr_t>(memory);
    const int64_t skip = static_cast<int64_t>(-address % kHugePageBytes);
    char* begin = static_cast<char*>(memory) + skip;
    if (skip > 0) munmap(memory, static_cast<size_t>(skip));
    if (skip < kHugePageBytes) munmap(begin + size, static_cast<size_t>(kHugePageBytes - skip));
    // Only advice: without huge pages everything works, more slowly.
    (void)madvise(begin, static_cast<size_t>(size), MADV_HUGEPAGE);
    return std::make_shared<Region>(begin, size);
  }

  Region(char* begin, int64_t size) : begin_(begin), size_(size) {}
  ~Region() { munmap(begin_, static_cast<size_t>(size_)); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  char* begin() const { return begin_; }
  int64_t size() const { return size_; }

 private:
  char* const begin_;
  const int64_t size_;
};

namespace {

class CpuMemory : public Memory {
 public:
  CpuMemory(std::shared_ptr<CpuMemoryAllocator::Region> region, char* begin, int64_t bytes)
      : region_(std::move(region)), begin_(begin), bytes_(bytes) {}

  kernels::DevicePtr<void> data() const override { return kernels::DevicePtr<void>(begin_); }
  int64_t bytes() const override { return bytes_; }

 private:
  const std::shared_ptr<CpuMemoryAllocator::Region> region_;
  char* const begin_;
  const int64_t bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Memory>> CpuMemoryAllocator::Allocate(int64_t bytes) {
  if (bytes > kSharedRegionBytes / 2) {
    ASSIGN_OR_RETURN(std::shared_ptr<Region> region, Region::Map(bytes));
    char* begin = region->begin();
    return std::unique_ptr<Memory>(new CpuMemory(std::move(region), begin, bytes));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t needed = RoundUp(bytes, kAlignmentBytes);
  if (current_ == nullptr || current_used_ + needed > current_->size()) {
    ASSIGN_OR_RETURN(current_, Region::Map(kSharedRegionBytes));
    current_used_ = 0;
  }
  char* begin = current_->begin() + current_used_;
  current_used_ += needed;
  return std::unique_ptr<Memory>(new CpuMemory(current_, begin, bytes));
}

}  // namespace quartet::device
