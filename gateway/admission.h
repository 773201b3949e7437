// How many requests, and how many tokens of prompts, may be in the gateway at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
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
    Ticket(Ticket&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)),
          prompt_tokens_(std::exchange(other.prompt_tokens_, 0)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(admission_, other.admission_);
      std::swap(prompt_tokens_, other.prompt_tokens_);
      return *this;
    }
    ~Ticket() {
      if (admission_ == nullptr) return;
      admission_->in_flight_.fetch_sub(1);
      admission_->prompt_tokens_.fetch_sub(prompt_tokens_);
    }

    // The request's prompt turned out to have this many tokens. Returns RESOURCE_EXHAUSTED with a
    // retry delay if that is too much beside what others have. REQUIRES: called once.
    absl::Status AddPromptTokens(size_t num_tokens);

   private:
    Admission* admission_ = nullptr;
    size_t prompt_tokens_ = 0;
  };

  Admission(size_t max_inflight, size_t max_prompt_tokens)
      : max_inflight_(max_inflight), max_prompt_tokens_(max_prompt_tokens) {}

  // Returns RESOURCE_EXHAUSTED with a retry delay if all places are taken, UNAVAILABLE after Close.
  absl::StatusOr<Ticket> Enter();
  // Nobody enters any more.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }
  // What who comes after Close is told.
  static absl::Status ClosedError();
  size_t in_flight() const { return in_flight_; }

 private:
  const size_t max_inflight_;
  const size_t max_prompt_tokens_;
  std::atomic<size_t> in_flight_{0};
  std::atomic<size_t> prompt_tokens_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace quartet::gateway
