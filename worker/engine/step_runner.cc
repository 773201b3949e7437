#include "worker/engine/step_runner.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/status_macros.h"

namespace quartet::engine {

StepRunner::StepRunner(int64_t vocab_size, model::Model* model, StepWatchdog* watchdog)
    : vocab_size_(vocab_size), model_(model), watchdog_(watchdog) {}

StepRunner::~StepRunner() { Stop(); }

void StepRunner::SetMode(Mode mode) {
  QUARTET_CHECK(num_outstanding_ == 0 && !thread_.joinable());
  mode_ = mode;
  if (mode == Mode::kThread) thread_ = std::thread([this] { Loop(); });
}

void StepRunner::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StepRunner::Submit(std::unique_ptr<StepWork> work) {
  auto step = std::make_shared<Step>();
  step->work = std::move(work);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    QUARTET_CHECK(!is_stopping_);
    steps_.push_back(std::move(step));
  }
  ++num_outstanding_;
  changed_.notify_all();
}

void StepRunner::SetRows(std::vector<kernels::SampleRow> rows) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Step& step = *steps_.at(num_with_rows_);
    step.rows = std::move(rows);
    step.has_rows = true;
  }
  ++num_with_rows_;
  changed_.notify_all();
}

bool StepRunner::WaitUntil(absl::Time deadline) {
  if (mode_ == Mode::kInline) return true;
  std::unique_lock<std::mutex> lock(mutex_);
  const auto duration = absl::ToChronoNanoseconds(deadline - SteadyNow());
  return changed_.wait_for(lock, duration, [this] { return steps_.front()->is_done; });
}

absl::StatusOr<StepResult> StepRunner::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::shared_ptr<Step> step = steps_.front();
  if (mode_ == Mode::kInline) {
    step->status = Run(step.get(), &lock);
  } else {
    changed_.wait(lock, [&step] { return step->is_done; });
  }
  steps_.pop_front();
  --num_outstanding_;
  if (step->has_rows) --num_with_rows_;
  RETURN_IF_ERROR(step->status);
  return std::move(step->result);
}

void StepRunner::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  absl::Status status;
  while (true) {
    std::shared_ptr<Step> next;
    changed_.wait(lock, [&] {
      const auto open = std::find_if(steps_.begin(), steps_.end(),
                                     [](const auto& step) { return !step->is_done; });
      next = open == steps_.end() ? nullptr : *open;
      return is_stopping_ || next != nullptr;
    });
    if (next == nullptr) return;
    if (status.ok())
      status = is_stopping_ ? absl::CancelledError("the engine stops") : Run(next.get(), &lock);
    next->status = status;
    next->is_done = true;
    changed_.notify_all();
  }
}

absl::Status StepRunner::Run(Step* step, std::unique_lock<std::mutex>* lock) {
  lock->unlock();
  absl::Status status = RunForward(step);
  lock->lock();
  RETURN_IF_ERROR(status);
  if (mode_ == Mode::kThread) {
    changed_.wait(*lock, [this, step] { return step->has_rows || is_stopping_; });
    if (!step->has_rows) return absl::CancelledError("the engine stops");
  }
  QUARTET_CHECK(step->has_rows);
  lock->unlock();
  status = RunSample(step);
  lock->lock();
  return status;
}

absl::Status StepRunner::RunForward(Step* step) {
  StepWork& work = *step->work;
  step->result.started = SteadyNow();
  if (watchdog_ != nullptr) {
    watchdog_->StepStarted(work.step, work.input.num_tokens(), step->result.started);
  }
  if (!work.sampled_rows.empty()) {
    std::vector<int32_t> ids;
    for (const int32_t row : work.sampled_rows) ids.push_back(last_tokens_.at(row));
    // A sequence whose sampling failed ends with that; its surplus token may be any.
    for (int32_t& id : ids) id = std::max(id, 0);
    RETURN_IF_ERROR(model_->ShareTokenIds(&ids));
    RETURN_IF_ERROR(FillSampledTokens(ids, vocab_size_, &work.input));
  }
  return model_->Forward(work.input);
}

absl::Status StepRunner::RunSample(Step* step) {
  std::vector<kernels::SampledToken>& tokens = step->result.tokens;
  if (!step->rows.empty()) RETURN_IF_ERROR(model_->Sample(step->rows, &tokens));
  QUARTET_CHECK(tokens.size() == step->rows.size());
  last_tokens_.clear();
  for (const kernels::SampledToken& token : tokens) last_tokens_.push_back(token.token_id);
  step->result.ended = SteadyNow();
  if (watchdog_ != nullptr) watchdog_->StepEnded(step->result.ended);
  return absl::OkStatus();
}

}  // namespace quartet::engine
