#include "worker/grammar/allocation_budget.h"

#include <new>

#include "absl/time/clock.h"
#include "common/status_macros.h"

namespace quartet::grammar {
namespace {

// The clock is asked at each so many allocations.
constexpr unsigned kClockInterval = 256;

thread_local AllocationBudget* current_budget = nullptr;

}  // namespace

AllocationBudget::AllocationBudget(absl::Duration time, size_t memory_bytes)
    : deadline_(absl::Now() + time), bytes_left_(memory_bytes) {
  QUARTET_CHECK(current_budget == nullptr);
  current_budget = this;
}

AllocationBudget::~AllocationBudget() { current_budget = nullptr; }

void AllocationBudget::Charge(size_t bytes) {
  if (current_budget != nullptr) current_budget->Spend(bytes);
}

void AllocationBudget::Spend(size_t bytes) {
  // Unwinding may allocate; it must come to its end.
  if (is_spent_) return;
  ++num_allocations_;
  const bool is_late = num_allocations_ % kClockInterval == 0 && absl::Now() > deadline_;
  if (bytes <= bytes_left_ && !is_late) {
    bytes_left_ -= bytes;
    return;
  }
  is_spent_ = true;
  throw std::bad_alloc();
}

}  // namespace quartet::grammar

// What xgrammar's `new` is bound to; its `delete` stays the usual one.
extern "C" void* quartet_grammar_new(size_t size) {
  quartet::grammar::AllocationBudget::Charge(size);
  return ::operator new(size);
}
extern "C" void* quartet_grammar_new_array(size_t size) {
  quartet::grammar::AllocationBudget::Charge(size);
  return ::operator new[](size);
}
