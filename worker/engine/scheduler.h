// Decides what each step computes. Continuous batching: sequences join and leave between steps;
// those that decode come first, prompts fill the rest of the step's token budget in chunks. When KV
// blocks run out the sequence that ranks last is preempted and computed again later.
//
// Order: by arrival, where each unit of priority counts as ten seconds (a lower number is served
// first). So waiting ages a sequence, nobody starves, and the order of two sequences never changes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/block_pool.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_plan.h"

namespace quartet::engine {

struct SchedulerOptions {
  int64_t max_num_batched_tokens = 512;  // token budget of a step
  int64_t max_num_seqs = 64;             // that run at once
  int64_t num_blocks = 0;
  int64_t max_model_len = 0;
  // Rows of logits a step that prompt log-probabilities may take; the others need one a sequence.
  int64_t max_prompt_logprob_rows = 64;
};

// Returns INVALID_ARGUMENT naming the option if they make no sense together.
absl::Status ValidateSchedulerOptions(const SchedulerOptions& options);

struct ScheduledSequence {
  Sequence* sequence = nullptr;
  int64_t num_new_tokens = 0;
  int64_t num_logits = 0;  // of the last new tokens
  bool samples = false;    // its last row of logits gives the next token
};

struct ScheduledStep {
  std::vector<ScheduledSequence> sequences;
  std::vector<BlockTableUpdate> block_updates;
};

// Not thread-safe. Owns its sequences.
class Scheduler {
 public:
  // REQUIRES: ValidateSchedulerOptions is OK.
  explicit Scheduler(const SchedulerOptions& options);

  // Returns INVALID_ARGUMENT with the sums if the request could never run.
  static absl::Status CheckFits(const SequenceRequest& request, const SchedulerOptions& options);

  // REQUIRES: CheckFits is OK and no sequence has this key.
  void Add(std::unique_ptr<Sequence> sequence);
  bool Contains(const SequenceKey& key) const { return ranks_.contains(key); }

  // Chooses the next step and takes its blocks. Empty if nothing can run. The sequences stay valid
  // until they are removed; the caller advances num_computed_tokens.
  ScheduledStep Schedule();

  // Frees what the sequence holds and gives it up; null if there is none.
  std::unique_ptr<Sequence> Remove(const SequenceKey& key);
  std::vector<std::unique_ptr<Sequence>> RemoveClient(uint64_t client_id);
  std::vector<std::unique_ptr<Sequence>> RemoveExpired(absl::Time now);
  std::vector<std::unique_ptr<Sequence>> RemoveAll();

  bool empty() const { return waiting_.empty() && running_.empty(); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  uint64_t num_preemptions() const { return num_preemptions_; }
  const BlockPool& block_pool() const { return block_pool_; }

 private:
  // Who is served first: time of arrival plus priority's worth, then order of arrival.
  struct Rank {
    int64_t milliseconds;
    uint64_t arrival_number;
    auto operator<=>(const Rank&) const = default;
  };
  using SequenceMap = std::map<Rank, std::unique_ptr<Sequence>>;

  template <typename Predicate>
  std::vector<std::unique_ptr<Sequence>> RemoveIf(Predicate predicate);
  // The three parts of Schedule.
  void ScheduleDecodes(ScheduledStep* step);
  void SchedulePrefills(ScheduledStep* step);
  void AdmitWaiting(ScheduledStep* step);
  // Takes a block for the next token, from sequences that rank behind if need be. False if the
  // sequence itself ranks last and was preempted.
  bool MakeRoomForNextToken(SequenceMap::iterator it);
  void Preempt(SequenceMap::iterator it);
  // Adds as much of the sequence as the budgets allow, which may be nothing.
  void AddToStep(Sequence& sequence, ScheduledStep* step);
  void FreeBlocks(Sequence& sequence);

  const SchedulerOptions options_;
  BlockPool block_pool_;
  SequenceMap waiting_;
  SequenceMap running_;
  absl::flat_hash_map<SequenceKey, Rank> ranks_;
  std::vector<int32_t> free_slots_;
  uint64_t next_arrival_number_ = 0;
  uint64_t num_preemptions_ = 0;
  int64_t token_budget_ = 0;         // of the step being scheduled
  int64_t prompt_logprob_rows_ = 0;  // left in the step being scheduled
};

}  // namespace quartet::engine
