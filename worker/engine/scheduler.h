// Decides what each step computes. Continuous batching: sequences join and leave between steps;
// those that decode come first, prompts fill the rest of the step's token budget in chunks, in the
// order of fair_queue.h. When KV blocks run out the sequence that ranks last is preempted and
// computed again later.
//
// Plans run one step ahead of results: a sequence's newest token may still be unknown when the step
// that reads it is planned.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/block_pool.h"
#include "worker/engine/fair_queue.h"
#include "worker/engine/prefix_cache.h"
#include "worker/engine/scheduler_counters.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_budget.h"
#include "worker/engine/step_plan.h"
#include "worker/engine/tenant_ledger.h"

namespace quartet::engine {

struct SchedulerOptions {
  int64_t max_num_batched_tokens = 512;  // token budget of a step
  int64_t max_num_seqs = 64;             // that run at once
  int64_t num_blocks = 0;
  int64_t max_model_len = 0;
  // Rows of logits a step that prompt log-probabilities may take; the others need one a sequence.
  int64_t max_prompt_logprob_rows = 64;
  bool enable_prefix_caching = true;
  StepBudget::Options step_budget;
};

// Returns INVALID_ARGUMENT naming the option if they make no sense together.
absl::Status ValidateSchedulerOptions(const SchedulerOptions& options);

struct ScheduledSequence {
  Sequence* sequence = nullptr;
  int64_t first_position = 0;  // of the new tokens
  int64_t num_new_tokens = 0;
  int64_t num_logits = 0;  // of the last new tokens
  bool samples = false;    // its last row of logits gives the next token
};

struct ScheduledStep {
  std::vector<ScheduledSequence> sequences;
  std::vector<BlockTableUpdate> block_updates;
  int64_t num_decodes = 0;        // sequences with one new token that go on with their output
  int64_t num_prompt_tokens = 0;  // new tokens of the others
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

  // Plans the next step, takes its blocks, and counts its tokens as computed and its samples as
  // pending. Empty if nothing can run before a pending sample is there. The step must run after
  // those planned before it and before those planned later; its results go to
  // Sequence::AppendOutput in that order, of which at most the last may be outstanding.
  ScheduledStep Schedule();

  // A step has run for this long on the device.
  void ObserveStep(const ScheduledStep& step, absl::Duration duration);
  absl::Duration PredictedDuration(const ScheduledStep& step) const;

  // Frees what the sequence holds and gives it up; null if there is none. Steps that were planned
  // with it may still run: they come before whatever its blocks are used for next. The sequence is
  // marked as removed.
  std::unique_ptr<Sequence> Remove(const SequenceKey& key);
  std::vector<std::unique_ptr<Sequence>> RemoveClient(uint64_t client_id);
  std::vector<std::unique_ptr<Sequence>> RemoveExpired(absl::Time now);
  std::vector<std::unique_ptr<Sequence>> RemoveAll();

  bool empty() const { return waiting_.empty() && running_.empty(); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  // Tokens that the waiting sequences begin with.
  int64_t num_waiting_tokens() const { return num_waiting_tokens_; }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  const SchedulerCounters& counters() const { return counters_; }
  const BlockPool& block_pool() const { return cache_.pool(); }
  const PrefixCache& prefix_cache() const { return cache_; }

 private:
  // Who is preempted last: time of arrival plus priority's worth, then order of arrival. Never
  // changes, so that two sequences can't push each other out in turn.
  struct Rank {
    int64_t milliseconds;
    uint64_t number;
    auto operator<=>(const Rank&) const = default;
  };
  using SequenceMap = std::map<Rank, std::unique_ptr<Sequence>>;

  template <typename Predicate>
  std::vector<std::unique_ptr<Sequence>> RemoveIf(Predicate predicate);
  // The parts of Schedule.
  void ScheduleDecodes(ScheduledStep* step);
  void SchedulePrompts(ScheduledStep* step);
  void SendBlockTables(ScheduledStep* step);
  // Moves a waiting sequence to the running ones if slot and blocks are there.
  bool TryAdmit(Sequence* sequence);
  // Takes a block for the next token, from sequences that rank behind if need be. False if the
  // sequence itself ranks last and was preempted.
  bool MakeRoomForNextToken(SequenceMap::iterator it);
  void Preempt(SequenceMap::iterator it);
  // Adds as much of the sequence as the budgets allow, which may be nothing.
  void AddToStep(Sequence* sequence, ScheduledStep* step);
  // Makes the full blocks whose tokens are known, and whose computing is planned, known to the
  // prefix cache. The step being planned computes the positions from `first_new_position` on.
  void ShareFullBlocks(Sequence* sequence, int64_t first_new_position);
  void FreeBlocks(Sequence* sequence);
  void CountWaiting(const Sequence& sequence, int64_t sign);

  const SchedulerOptions options_;
  PrefixCache cache_;
  StepBudget step_budget_;
  TenantLedger ledger_;
  SequenceMap waiting_;
  SequenceMap running_;
  FairQueue waiting_order_;  // of all that wait
  FairQueue prefill_order_;  // of the running ones that have more than one token to compute
  absl::flat_hash_map<SequenceKey, Rank> ranks_;
  std::vector<int32_t> free_slots_;
  uint64_t next_number_ = 0;
  int64_t num_waiting_tokens_ = 0;
  absl::Time next_deadline_ = absl::InfiniteFuture();  // no sequence's is earlier
  SchedulerCounters counters_;
  int64_t token_budget_ = 0;         // of the step being planned
  int64_t prompt_logprob_rows_ = 0;  // left in the step being planned
};

}  // namespace quartet::engine
