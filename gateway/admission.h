// How many requests may be in the gateway at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"

namespace quartet::gateway {

// Thread-safe. Tickets must not outlive it.
class Admission {
 public:
  // A request's place; gives it back when it goes.
  class Ticket {
   public:
    Ticket() = default;
    explicit Ticket(Admission* admission) : admission_(admission) {}
    Ticket(Ticket&& other) noexcept : admission_(std::exchange(other.admission_, nullptr)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(admission_, other.admission_);
      return *this;
    }
    ~Ticket() {
      if (admission_ != nullptr) admission_->in_flight_.fetch_sub(1);
    }

   private:
    Admission* admission_ = nullptr;
  };

  explicit Admission(size_t max_inflight) : max_inflight_(max_inflight) {}

  // Returns RESOURCE_EXHAUSTED with a retry delay if all places are taken, UNAVAILABLE after Close.
  absl::StatusOr<Ticket> Enter();
  // Nobody enters any more.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }
  size_t in_flight() const { return in_flight_; }

 private:
  const size_t max_inflight_;
  std::atomic<size_t> in_flight_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace quartet::gateway
