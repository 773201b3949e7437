// A vector whose big blocks ask the kernel for huge pages: tables of megabytes that are read all
// over cost most of their time in address translation otherwise.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace quartet::tokenizer {

template <typename T>
struct HugePageAllocator {
  using value_type = T;

  HugePageAllocator() = default;
  template <typename U>
  HugePageAllocator(const HugePageAllocator<U>&) {}

  T* allocate(size_t count) {
    const size_t wanted = count * sizeof(T);
    const size_t alignment = wanted >= kWorthwhileBytes ? kHugePageBytes : kSmallAlignment;
    // aligned_alloc wants a multiple of the alignment.
    const size_t size = (wanted + alignment - 1) / alignment * alignment;
    void* const block = std::aligned_alloc(alignment, size);
    if (block == nullptr) throw std::bad_alloc();
    // Only a hint: without huge pages everything works, slower.
    if (wanted >= kWorthwhileBytes) madvise(block, size, MADV_HUGEPAGE);
    return static_cast<T*>(block);
  }
  void deallocate(T* block, size_t) { std::free(block); }

  bool operator==(const HugePageAllocator&) const { return true; }

 private:
  static constexpr size_t kHugePageBytes = 2 << 20;
  static constexpr size_t kWorthwhileBytes = 1 << 20;
  static constexpr size_t kSmallAlignment = alignof(T) > alignof(std::max_align_t)
                                                ? alignof(T)
                                                : alignof(std::max_align_t);
};

template <typename T>
using HugeVector = std::vector<T, HugePageAllocator<T>>;

}  // namespace quartet::tokenizer
