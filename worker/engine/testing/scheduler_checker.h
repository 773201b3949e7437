// What a scheduler must never do, checked from outside. The checker keeps its own book of every
// sequence, of who holds which KV block, and of what each cell of the cache would contain, and
// knows of the scheduler only the steps and sequences that it shows.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/sequence.h"

namespace quartet::engine {

// How the blocks of a pool are used: by sequences, by nobody but with contents that may serve
// again, or not at all.
struct PoolUse {
  int64_t num_used = 0;
  int64_t num_cached = 0;
  int64_t num_free = 0;
};

// What the schedules that were checked had in them, so that a test can tell whether it tested
// anything.
struct ScheduleCounters {
  int64_t steps = 0;
  int64_t chunks_off_block_edges = 0;
  int64_t preempted = 0;
  int64_t cached_tokens = 0;
  int64_t shared_blocks = 0;  // held by several sequences, counted in every step
  int64_t prompt_logprob_rows = 0;
  int64_t full_budgets = 0;
};

// A scheduled step as the checker has taken it in.
struct CheckedStep {
  ScheduledStep step;
  std::vector<SequenceKey> keys;  // [num_sequences]
  std::vector<int32_t> sampled;  // [num_sequences]: the token, or -1 if the sequence doesn't sample
};

// Not thread-safe. Steps are checked in the order in which they would run on the device, which may
// be before the results of the step before were committed. All checks return INTERNAL with what is
// wrong.
class SchedulerChecker {
 public:
  // With `has_tenants` sequences of different tenants come, so that the order of arrival alone does
  // not tell who is next.
  SchedulerChecker(const SchedulerOptions& options, int32_t vocab_size, bool has_tenants,
                   ScheduleCounters* counters);

  // `sequence` was added and stays valid until it is given to Removed.
  void Added(const Sequence* sequence);
  // The scheduler has given up the sequence.
  absl::Status Removed(const SequenceKey& key);

  // Takes in the result of Schedule: limits, order, block tables, and that every cell which a
  // sequence reads holds what the sequence would have computed itself.
  absl::Status CheckStep(ScheduledStep step, CheckedStep* out);
  // No block is lost, none is held by two sequences whose tokens differ. At any time.
  absl::Status CheckBlocks(const PoolUse& use);
  // The sequence that ended has the tokens that it would have had alone.
  absl::Status CheckTokens(const Sequence& sequence) const;

  int64_t num_sequences() const { return static_cast<int64_t>(books_.size()); }
  // Steps that suffice for all sequences to end, if none is added any more.
  int64_t StepBound() const;

 private:
  // The checker's own record of one sequence.
  struct Book {
    const Sequence* sequence = nullptr;
    std::pair<int64_t, uint64_t> rank;  // who is served first: scheduler.h
    // Prompt, output, and what steps that are not committed yet will sample.
    std::vector<int32_t> tokens;
    // [i]: digest of the cache's owner (salt) and of tokens [0, i]; what a cell contains.
    std::vector<uint64_t> digests;
    int64_t num_computed = 0;
    bool is_running = false;
    bool was_running = false;  // before the step that is being checked
    int num_preemptions = 0;
    size_t num_known_blocks = 0;
    int64_t num_prompt_logprobs = 0;  // reported so far
    bool has_sampled = false;
  };

  // Where a block's first holder has it, and the digest of its last cell; 0 if it isn't full.
  struct BlockUse {
    int64_t index = 0;
    uint64_t digest = 0;
  };

  void Append(Book* book, int32_t token) const;
  int32_t SampledToken(const Book& book) const;
  Book* Find(const SequenceKey& key);
  absl::Status CheckLimits(const ScheduledStep& step) const;
  absl::Status CheckTables(const ScheduledStep& step);
  absl::Status NoteRunning();
  // Whether steps that were checked have sampled tokens that the sequences don't have yet.
  bool HasUncommitted() const;
  absl::Status CheckOrder(const ScheduledStep& step);
  absl::Status CheckLetIn(const Book& newcomer) const;
  absl::Status CheckDecodes(const ScheduledStep& step) const;
  // Whether it is as long as it may become, also by what is not committed yet.
  bool HasAllTokens(const Book& book) const;
  absl::Status CheckChunk(const ScheduledSequence& scheduled, Book* book);
  absl::Status CheckLogits(const ScheduledSequence& scheduled, Book* book, int64_t end);
  absl::Status WriteCells(const ScheduledSequence& scheduled, const Book& book);
  absl::Status ReadCells(const ScheduledSequence& scheduled, const Book& book) const;
  void ForgetNewBlocks(Book* book, int64_t first_new_token);
  // Fails if a block has two holders that may not share it.
  absl::Status CountHolders();

  const SchedulerOptions options_;
  const bool has_tenants_;
  const int32_t vocab_size_;
  ScheduleCounters* const counters_;
  std::map<std::pair<uint64_t, uint64_t>, Book> books_;  // by client and sequence
  uint64_t num_added_ = 0;
  std::set<int64_t> written_;     // cells, by the step that is being checked
  std::vector<uint64_t> cells_;   // digest, by block * kBlockTokens + offset; 0: nothing
  std::vector<int> num_holders_;  // by block; as CountHolders found it
  std::vector<BlockUse> uses_;    // by block; likewise
  std::vector<std::vector<int32_t>> tables_;  // as the ranks know them, by slot
};

}  // namespace quartet::engine
