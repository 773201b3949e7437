// A limit on the time and the memory of code that can't be told to stop: each of its allocations
// asks here and throws once the budget is spent. xgrammar is linked so that all of its allocations
// do (cmake/xgrammar/CMakeLists.txt).
#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace quartet::grammar {

// Holds for the thread that made it, until it is destroyed. They don't nest.
class AllocationBudget {
 public:
  // `memory_bytes` counts what is allocated, whether it is freed again or not.
  AllocationBudget(absl::Duration time, size_t memory_bytes);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;

  bool is_spent() const { return is_spent_; }

  // An allocation of this thread. Throws std::bad_alloc if the budget is spent.
  static void Charge(size_t bytes);

 private:
  void Spend(size_t bytes);

  const absl::Time deadline_;
  size_t bytes_left_;
  unsigned num_allocations_ = 0;
  bool is_spent_ = false;
};

}  // namespace quartet::grammar
