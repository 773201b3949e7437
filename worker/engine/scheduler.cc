#include "worker/engine/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::engine {

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
    : options_(options),
      cache_(options.num_blocks, options.enable_prefix_caching),
      step_budget_(options.step_budget),
      waiting_order_(&ledger_),
      prefill_order_(&ledger_) {
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

void Scheduler::CountWaiting(const Sequence& sequence, int64_t sign) {
  num_waiting_tokens_ += sign * sequence.num_tokens();
}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  sequence->number = next_number_++;
  const Arrival arrival = sequence->arrival_order();
  const Rank rank = {arrival.milliseconds + sequence->request().priority * kPriorityMilliseconds,
                     arrival.number};
  const bool is_new = ranks_.emplace(sequence->request().key, rank).second;
  QUARTET_CHECK(is_new);
  next_deadline_ = std::min(next_deadline_, sequence->deadline());
  ledger_.Enter(sequence->request().tenant);
  waiting_order_.Add(sequence.get());
  CountWaiting(*sequence, 1);
  waiting_.emplace(rank, std::move(sequence));
}

ScheduledStep Scheduler::Schedule() {
  ScheduledStep step;
  token_budget_ = options_.max_num_batched_tokens;
  prompt_logprob_rows_ = options_.max_prompt_logprob_rows;
  ScheduleDecodes(&step);
  if (step.num_decodes > 0) {
    token_budget_ = step_budget_.PromptTokens(step.num_decodes, token_budget_);
  }
  SchedulePrompts(&step);
  SendBlockTables(&step);
  return step;
}

void Scheduler::ScheduleDecodes(ScheduledStep* step) {
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    Sequence* const sequence = it->second.get();
    if (sequence->num_uncomputed_tokens() != 1) continue;
    if (sequence->EndsWithPendingSamples(options_.max_model_len)) continue;
    // Only sequences that rank behind are preempted, so none that is already in the step; if this
    // one is, it was the last.
    if (!MakeRoomForNextToken(it)) return;
    AddToStep(sequence, step);
    ++step->num_decodes;
  }
}

void Scheduler::SchedulePrompts(ScheduledStep* step) {
  std::vector<Sequence*> served;
  bool can_admit = true;
  while (token_budget_ > 0) {
    Sequence* sequence = prefill_order_.Head();
    Sequence* const newcomer = can_admit ? waiting_order_.Head() : nullptr;
    if (newcomer != nullptr &&
        (sequence == nullptr || waiting_order_.Precedes(*newcomer, *sequence))) {
      // Nobody overtakes a newcomer that must wait for room: it would wait for ever.
      can_admit = TryAdmit(newcomer);
      if (!can_admit) continue;
      sequence = newcomer;
    } else if (sequence == nullptr) {
      break;
    } else {
      prefill_order_.Remove(sequence);
    }
    served.push_back(sequence);
    const int64_t budget = token_budget_;
    AddToStep(sequence, step);
    step->num_prompt_tokens += budget - token_budget_;
  }
  for (Sequence* sequence : served) {
    if (sequence->num_uncomputed_tokens() > 1) prefill_order_.Add(sequence);
  }
}

bool Scheduler::TryAdmit(Sequence* sequence) {
  // The token that a preempted sequence still waits for must be known before it is computed again.
  if (free_slots_.empty() || sequence->num_pending_samples > 0) return false;
  const bool wants_prompt_logprobs = sequence->next_prompt_logprob_position() > 0;
  if (wants_prompt_logprobs && prompt_logprob_rows_ == 0) return false;
  // The last token is always computed, for its logits, and with log-probabilities of the prompt so
  // is all that is before it.
  const int64_t reusable = wants_prompt_logprobs ? 0 : (sequence->num_tokens() - 1) / kBlockTokens;
  std::vector<int32_t> blocks =
      cache_.Acquire(sequence->request().cache_salt, sequence->tokens(), reusable);
  const int64_t num_cached = static_cast<int64_t>(blocks.size());
  const int64_t needed = BlocksForTokens(sequence->num_tokens()) - num_cached;
  // Beside what the newcomer takes, each running sequence may soon want one more block; without
  // that reserve it would be preempted again at once. One that was needs more each time.
  const int64_t reserve = num_running() * (1 + sequence->num_preemptions);
  if (block_pool().num_free() < needed + reserve) {
    for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) cache_.Release(*it);
    return false;
  }
  for (int64_t i = 0; i < needed; ++i) blocks.push_back(cache_.Allocate());
  sequence->blocks = std::move(blocks);
  sequence->num_shared_blocks = num_cached;
  sequence->num_computed_tokens = num_cached * kBlockTokens;
  sequence->slot = free_slots_.back();
  free_slots_.pop_back();
  counters_.num_prefix_queried_tokens += sequence->num_tokens();
  counters_.num_prefix_hit_tokens += sequence->num_computed_tokens;
  if (sequence->num_cached_prompt_tokens < 0) {
    sequence->num_cached_prompt_tokens =
        std::min(sequence->num_computed_tokens, sequence->num_prompt_tokens());
  }
  waiting_order_.Remove(sequence);
  CountWaiting(*sequence, -1);
  running_.insert(waiting_.extract(ranks_.at(sequence->request().key)));
  return true;
}

bool Scheduler::MakeRoomForNextToken(SequenceMap::iterator it) {
  Sequence* const sequence = it->second.get();
  while (static_cast<int64_t>(sequence->blocks.size()) <
         BlocksForTokens(sequence->num_computed_tokens + 1)) {
    if (block_pool().num_free() > 0) {
      sequence->blocks.push_back(cache_.Allocate());
      continue;
    }
    const auto last = std::prev(running_.end());
    Preempt(last);
    if (last == it) return false;
  }
  return true;
}

void Scheduler::Preempt(SequenceMap::iterator it) {
  Sequence* const sequence = it->second.get();
  common::LogInfo("sequence preempted for want of KV blocks; it will be computed again",
                  {{"request_id", sequence->request().request_id},
                   {"tokens", sequence->num_tokens()},
                   {"computed_tokens", sequence->num_computed_tokens}});
  if (sequence->num_uncomputed_tokens() > 1) prefill_order_.Remove(sequence);
  FreeBlocks(sequence);
  ++sequence->num_preemptions;
  ++counters_.num_preemptions;
  waiting_order_.Add(sequence);
  CountWaiting(*sequence, 1);
  waiting_.insert(running_.extract(it));
}

void Scheduler::AddToStep(Sequence* sequence, ScheduledStep* step) {
  ScheduledSequence scheduled;
  scheduled.sequence = sequence;
  scheduled.first_position = sequence->num_computed_tokens;
  scheduled.num_new_tokens = std::min(sequence->num_uncomputed_tokens(), token_budget_);
  const int64_t prompt_position = sequence->next_prompt_logprob_position();
  // Row p of the logits tells about the token at p + 1.
  const int64_t first_row = std::max(prompt_position - 1, sequence->num_computed_tokens);
  if (prompt_position > 0) {
    scheduled.num_new_tokens = std::min(
        scheduled.num_new_tokens, first_row - sequence->num_computed_tokens + prompt_logprob_rows_);
    if (scheduled.num_new_tokens <= 0) return;
  }
  const int64_t end = sequence->num_computed_tokens + scheduled.num_new_tokens;
  scheduled.samples = scheduled.num_new_tokens == sequence->num_uncomputed_tokens();
  scheduled.num_logits = scheduled.samples ? 1 : 0;
  if (prompt_position > 0 && end > first_row) {
    scheduled.num_logits = end - first_row;
    prompt_logprob_rows_ -= scheduled.num_logits;
    sequence->num_planned_prompt_logprobs += scheduled.num_logits - (scheduled.samples ? 1 : 0);
  }
  token_budget_ -= scheduled.num_new_tokens;
  sequence->num_computed_tokens = end;
  if (scheduled.samples) ++sequence->num_pending_samples;
  ledger_.Charge(sequence->request().tenant,
                 scheduled.num_new_tokens + (scheduled.samples ? TenantLedger::kSampleCost : 0));
  ShareFullBlocks(sequence, scheduled.first_position);
  step->sequences.push_back(scheduled);
}

void Scheduler::ShareFullBlocks(Sequence* sequence, int64_t first_new_position) {
  if (!cache_.is_enabled()) return;
  const int64_t known = std::min(sequence->num_computed_tokens, sequence->num_tokens());
  const std::span<const int32_t> tokens(sequence->tokens());
  for (int64_t& i = sequence->num_shared_blocks; (i + 1) * kBlockTokens <= known; ++i) {
    // Where another sequence has computed the same, one copy is enough; but this step must not
    // write into a block that others read.
    const bool is_written_now = (i + 1) * kBlockTokens > first_new_position;
    const int32_t block =
        cache_.Publish(sequence->request().cache_salt, sequence->blocks, i,
                       tokens.subspan(i * kBlockTokens, kBlockTokens), !is_written_now);
    if (block < 0) return;
    if (block == sequence->blocks[i]) continue;
    sequence->blocks[i] = block;
    sequence->num_sent_blocks = std::min(sequence->num_sent_blocks, i);
  }
}

void Scheduler::SendBlockTables(ScheduledStep* step) {
  for (const ScheduledSequence& scheduled : step->sequences) {
    Sequence* const sequence = scheduled.sequence;
    const int64_t num_blocks = static_cast<int64_t>(sequence->blocks.size());
    if (sequence->num_sent_blocks == num_blocks) continue;
    step->block_updates.push_back(
        {sequence->slot,
         static_cast<int32_t>(sequence->num_sent_blocks),
         {sequence->blocks.begin() + sequence->num_sent_blocks, sequence->blocks.end()}});
    sequence->num_sent_blocks = num_blocks;
  }
}

void Scheduler::ObserveStep(const ScheduledStep& step, absl::Duration duration) {
  step_budget_.Observe(step.num_decodes, step.num_prompt_tokens, duration);
}

absl::Duration Scheduler::PredictedDuration(const ScheduledStep& step) const {
  return step_budget_.Predict(step.num_decodes, step.num_prompt_tokens);
}

void Scheduler::FreeBlocks(Sequence* sequence) {
  // In reverse, so that of what stays known the end is forgotten before the beginning, and of the
  // rest the first block is the next one handed out.
  for (auto it = sequence->blocks.rbegin(); it != sequence->blocks.rend(); ++it) {
    cache_.Release(*it);
  }
  sequence->blocks.clear();
  sequence->num_sent_blocks = 0;
  sequence->num_shared_blocks = 0;
  sequence->num_computed_tokens = 0;
  if (sequence->slot >= 0) free_slots_.push_back(sequence->slot);
  sequence->slot = -1;
}

std::unique_ptr<Sequence> Scheduler::Remove(const SequenceKey& key) {
  const auto rank = ranks_.find(key);
  if (rank == ranks_.end()) return nullptr;
  auto node = running_.extract(rank->second);
  if (node.empty()) {
    node = waiting_.extract(rank->second);
    waiting_order_.Remove(node.mapped().get());
    CountWaiting(*node.mapped(), -1);
  } else if (node.mapped()->num_uncomputed_tokens() > 1) {
    prefill_order_.Remove(node.mapped().get());
  }
  ranks_.erase(rank);
  ledger_.Leave(node.mapped()->request().tenant);
  FreeBlocks(node.mapped().get());
  node.mapped()->is_removed = true;
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
  if (now < next_deadline_) return {};
  std::vector<std::unique_ptr<Sequence>> expired =
      RemoveIf([now](const Sequence& sequence) { return sequence.IsExpired(now); });
  next_deadline_ = absl::InfiniteFuture();
  for (const SequenceMap* map : {&running_, &waiting_}) {
    for (const auto& [rank, sequence] : *map) {
      next_deadline_ = std::min(next_deadline_, sequence->deadline());
    }
  }
  return expired;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::RemoveAll() {
  return RemoveIf([](const Sequence&) { return true; });
}

}  // namespace quartet::engine
