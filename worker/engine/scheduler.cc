#include "worker/engine/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::engine {
namespace {

constexpr int64_t kPriorityMilliseconds = 10'000;

}  // namespace

absl::Status ValidateSchedulerOptions(const SchedulerOptions& options) {
  if (options.max_num_seqs < 1 || options.max_num_seqs > 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_num_seqs is ", options.max_num_seqs, ", must be in [1, 256]"));
  }
  if (options.max_num_batched_tokens < options.max_num_seqs ||
      options.max_num_batched_tokens > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_num_batched_tokens is ", options.max_num_batched_tokens,
                     ", must be in [max_num_seqs = ", options.max_num_seqs,
                     ", 65536]: every running sequence needs a token of each step's budget"));
  }
  if (BlocksForTokens(options.max_model_len) > options.num_blocks) {
    return absl::InvalidArgumentError(
        absl::StrCat("a sequence of max_model_len = ", options.max_model_len, " tokens takes ",
                     BlocksForTokens(options.max_model_len), " KV blocks of ", kBlockTokens,
                     " tokens, but there are ", options.num_blocks));
  }
  return absl::OkStatus();
}

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), block_pool_(options.num_blocks) {
  for (int64_t slot = options.max_num_seqs - 1; slot >= 0; --slot) {
    free_slots_.push_back(static_cast<int32_t>(slot));
  }
}

absl::Status Scheduler::CheckFits(const SequenceRequest& request, const SchedulerOptions& options) {
  const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t output = static_cast<int64_t>(request.output_ids.size());
  if (prompt + output >= options.max_model_len) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has ", prompt, " tokens",
                     output > 0 ? absl::StrCat(" and ", output, " of output") : "",
                     ", which leaves no room for another one in the context of max_model_len = ",
                     options.max_model_len, " tokens"));
  }
  // The last token's keys and values are never needed.
  const int64_t most = std::min(prompt + request.sampling.max_tokens, options.max_model_len) - 1;
  if (BlocksForTokens(most) > options.num_blocks) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt of ", prompt, " tokens plus max_tokens = ", request.sampling.max_tokens,
        " may need the keys and values of ", most, " tokens (", BlocksForTokens(most),
        " blocks), but the KV cache holds ", options.num_blocks * kBlockTokens, " tokens (",
        options.num_blocks, " blocks): ask for fewer tokens or raise --kv_cache_bytes"));
  }
  return absl::OkStatus();
}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  const Rank rank = {absl::ToUnixMillis(sequence->arrival()) +
                         sequence->request().priority * kPriorityMilliseconds,
                     next_arrival_number_++};
  const bool is_new = ranks_.emplace(sequence->request().key, rank).second;
  QUARTET_CHECK(is_new);
  waiting_.emplace(rank, std::move(sequence));
}

ScheduledStep Scheduler::Schedule() {
  ScheduledStep step;
  token_budget_ = options_.max_num_batched_tokens;
  prompt_logprob_rows_ = options_.max_prompt_logprob_rows;
  ScheduleDecodes(&step);
  SchedulePrefills(&step);
  AdmitWaiting(&step);
  for (const ScheduledSequence& scheduled : step.sequences) {
    Sequence& sequence = *scheduled.sequence;
    const int64_t num_blocks = static_cast<int64_t>(sequence.blocks.size());
    if (sequence.num_published_blocks == num_blocks) continue;
    step.block_updates.push_back(
        {sequence.slot,
         static_cast<int32_t>(sequence.num_published_blocks),
         {sequence.blocks.begin() + sequence.num_published_blocks, sequence.blocks.end()}});
    sequence.num_published_blocks = num_blocks;
  }
  return step;
}

void Scheduler::ScheduleDecodes(ScheduledStep* step) {
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    if (it->second->num_uncomputed_tokens() != 1) continue;
    // Only sequences that rank behind are preempted, so none that is already in the step; if this
    // one is, it was the last.
    if (!MakeRoomForNextToken(it)) return;
    AddToStep(*it->second, step);
  }
}

void Scheduler::SchedulePrefills(ScheduledStep* step) {
  for (const auto& [rank, sequence] : running_) {
    if (token_budget_ == 0) return;
    if (sequence->num_uncomputed_tokens() > 1) AddToStep(*sequence, step);
  }
}

void Scheduler::AdmitWaiting(ScheduledStep* step) {
  while (!waiting_.empty() && !free_slots_.empty() && token_budget_ > 0) {
    Sequence& sequence = *waiting_.begin()->second;
    const int64_t needed = BlocksForTokens(sequence.num_tokens());
    // Beside what the newcomer takes, each running sequence may soon want one more block; without
    // that reserve it would be preempted again at once.
    if (block_pool_.num_free() < needed + num_running()) return;
    if (sequence.next_prompt_logprob_position() > 0 && prompt_logprob_rows_ == 0) return;
    for (int64_t i = 0; i < needed; ++i) sequence.blocks.push_back(block_pool_.Allocate());
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    running_.insert(waiting_.extract(waiting_.begin()));
    AddToStep(sequence, step);
  }
}

bool Scheduler::MakeRoomForNextToken(SequenceMap::iterator it) {
  Sequence& sequence = *it->second;
  while (static_cast<int64_t>(sequence.blocks.size()) < BlocksForTokens(sequence.num_tokens())) {
    if (block_pool_.num_free() > 0) {
      sequence.blocks.push_back(block_pool_.Allocate());
      continue;
    }
    const auto last = std::prev(running_.end());
    Preempt(last);
    if (last == it) return false;
  }
  return true;
}

void Scheduler::Preempt(SequenceMap::iterator it) {
  Sequence& sequence = *it->second;
  common::LogInfo("sequence preempted for want of KV blocks; it will be computed again",
                  {{"request_id", sequence.request().request_id},
                   {"tokens", sequence.num_tokens()},
                   {"computed_tokens", sequence.num_computed_tokens}});
  FreeBlocks(sequence);
  ++sequence.num_preemptions;
  ++num_preemptions_;
  waiting_.insert(running_.extract(it));
}

void Scheduler::AddToStep(Sequence& sequence, ScheduledStep* step) {
  ScheduledSequence scheduled;
  scheduled.sequence = &sequence;
  scheduled.num_new_tokens = std::min(sequence.num_uncomputed_tokens(), token_budget_);
  const int64_t prompt_position = sequence.next_prompt_logprob_position();
  // Row p of the logits tells about the token at p + 1.
  const int64_t first_row = std::max(prompt_position - 1, sequence.num_computed_tokens);
  if (prompt_position > 0) {
    scheduled.num_new_tokens = std::min(
        scheduled.num_new_tokens, first_row - sequence.num_computed_tokens + prompt_logprob_rows_);
    if (scheduled.num_new_tokens <= 0) return;
  }
  const int64_t end = sequence.num_computed_tokens + scheduled.num_new_tokens;
  scheduled.samples = end == sequence.num_tokens();
  scheduled.num_logits = scheduled.samples ? 1 : 0;
  if (prompt_position > 0 && end > first_row) {
    scheduled.num_logits = end - first_row;
    prompt_logprob_rows_ -= scheduled.num_logits;
  }
  token_budget_ -= scheduled.num_new_tokens;
  step->sequences.push_back(scheduled);
}

void Scheduler::FreeBlocks(Sequence& sequence) {
  // In reverse, so that the first block is the next one handed out.
  for (auto it = sequence.blocks.rbegin(); it != sequence.blocks.rend(); ++it) {
    block_pool_.Release(*it);
  }
  sequence.blocks.clear();
  sequence.num_published_blocks = 0;
  sequence.num_computed_tokens = 0;
  if (sequence.slot >= 0) free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

std::unique_ptr<Sequence> Scheduler::Remove(const SequenceKey& key) {
  const auto rank = ranks_.find(key);
  if (rank == ranks_.end()) return nullptr;
  auto node = running_.extract(rank->second);
  if (node.empty()) node = waiting_.extract(rank->second);
  ranks_.erase(rank);
  FreeBlocks(*node.mapped());
  return std::move(node.mapped());
}

template <typename Predicate>
std::vector<std::unique_ptr<Sequence>> Scheduler::RemoveIf(Predicate predicate) {
  std::vector<SequenceKey> keys;
  for (const SequenceMap* map : {&running_, &waiting_}) {
    for (const auto& [rank, sequence] : *map) {
      if (predicate(*sequence)) keys.push_back(sequence->request().key);
    }
  }
  std::vector<std::unique_ptr<Sequence>> removed;
  for (const SequenceKey& key : keys) removed.push_back(Remove(key));
  return removed;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::RemoveClient(uint64_t client_id) {
  return RemoveIf([client_id](const Sequence& sequence) {
    return sequence.request().key.client_id == client_id;
  });
}

std::vector<std::unique_ptr<Sequence>> Scheduler::RemoveExpired(absl::Time now) {
  return RemoveIf([now](const Sequence& sequence) { return sequence.IsExpired(now); });
}

std::vector<std::unique_ptr<Sequence>> Scheduler::RemoveAll() {
  return RemoveIf([](const Sequence&) { return true; });
}

}  // namespace quartet::engine
