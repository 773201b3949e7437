#include "worker/engine/inbox.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::engine {

absl::Status Inbox::Submit(SequenceRequest request) {
  const int64_t num_tokens =
      static_cast<int64_t>(request.prompt_ids.size() + request.output_ids.size());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    RETURN_IF_ERROR(failure_);
    const int64_t waiting = load_.num_waiting + num_submitted_;
    if (waiting >= limits_.max_waiting) {
      return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting,
                                                       " sequences wait, --max_waiting is ",
                                                       limits_.max_waiting, "; try again later"));
    }
    // One that waits alone is taken however long it is.
    const int64_t waiting_tokens = load_.num_waiting_tokens + num_submitted_tokens_;
    if (waiting > 0 && waiting_tokens + num_tokens > limits_.max_waiting_tokens) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the queue is full: ", waiting_tokens, " tokens of prompts wait and ",
                       num_tokens, " would join them, --max_waiting_tokens is ",
                       limits_.max_waiting_tokens, "; try again later"));
    }
    commands_.emplace_back(std::move(request));
    ++num_submitted_;
    num_submitted_tokens_ += num_tokens;
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void Inbox::Push(Command command) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back(std::move(command));
  }
  changed_.notify_one();
}

void Inbox::Probe() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    probe_wanted_ = true;
  }
  changed_.notify_one();
}

void Inbox::Fail(const absl::Status& why) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.ok()) failure_ = why;
  }
  changed_.notify_one();
}

void Inbox::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_one();
}

bool Inbox::Wait(bool has_work) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this, has_work] {
    return has_work || is_stopping_ || probe_wanted_ || !failure_.ok() || !commands_.empty();
  });
  return !is_stopping_;
}

std::vector<Inbox::Command> Inbox::Take() {
  std::vector<Command> commands;
  std::lock_guard<std::mutex> lock(mutex_);
  commands.swap(commands_);
  // Counted as waiting from here on, without a gap in which they count nowhere.
  load_.num_waiting += std::exchange(num_submitted_, 0);
  load_.num_waiting_tokens += std::exchange(num_submitted_tokens_, 0);
  return commands;
}

bool Inbox::TakeProbe() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(probe_wanted_, false);
}

absl::Status Inbox::failure() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return failure_;
}

void Inbox::Publish(const EngineLoad& load) {
  std::lock_guard<std::mutex> lock(mutex_);
  load_ = load;
}

EngineLoad Inbox::load() const {
  std::lock_guard<std::mutex> lock(mutex_);
  EngineLoad load = load_;
  load.num_waiting += num_submitted_;
  load.num_waiting_tokens += num_submitted_tokens_;
  return load;
}

}  // namespace quartet::engine
