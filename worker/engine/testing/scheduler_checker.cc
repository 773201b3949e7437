#include "worker/engine/testing/scheduler_checker.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::engine {
namespace {

uint64_t Digest(uint64_t before, uint64_t value) {
  uint64_t x = (before ^ (value + 0x9e3779b97f4a7c15ull)) * 0xff51afd7ed558ccdull;
  x ^= x >> 32;
  x *= 0xc4ceb9fe1a85ec53ull;
  return (x ^ (x >> 29)) | 1;  // never 0
}

template <typename... Parts>
absl::Status Violation(const Sequence& sequence, const Parts&... parts) {
  const SequenceKey& key = sequence.request().key;
  return absl::InternalError(
      absl::StrCat("sequence ", key.client_id, "/", key.sequence_id, ": ", parts...));
}

}  // namespace

SchedulerChecker::SchedulerChecker(const SchedulerOptions& options, int32_t vocab_size,
                                   bool has_tenants, ScheduleCounters* counters)
    : options_(options),
      has_tenants_(has_tenants),
      vocab_size_(vocab_size),
      counters_(counters),
      cells_(options.num_blocks * kBlockTokens, 0),
      num_holders_(options.num_blocks, 0),
      uses_(options.num_blocks),
      tables_(options.max_num_seqs) {}

void SchedulerChecker::Append(Book* book, int32_t token) const {
  uint64_t before = 1;
  if (!book->digests.empty()) {
    before = book->digests.back();
  } else {
    for (char c : book->sequence->request().cache_salt) before = Digest(before, c);
  }
  book->tokens.push_back(token);
  book->digests.push_back(Digest(before, token));
}

int32_t SchedulerChecker::SampledToken(const Book& book) const {
  return static_cast<int32_t>((book.digests.back() >> 20) % vocab_size_);
}

SchedulerChecker::Book* SchedulerChecker::Find(const SequenceKey& key) {
  const auto it = books_.find({key.client_id, key.sequence_id});
  return it == books_.end() ? nullptr : &it->second;
}

void SchedulerChecker::Added(const Sequence* sequence) {
  const SequenceKey& key = sequence->request().key;
  Book& book = books_[{key.client_id, key.sequence_id}];
  book = Book();
  book.sequence = sequence;
  book.rank = {absl::ToUnixMillis(sequence->arrival()) +
                   sequence->request().priority * kPriorityMilliseconds,
               num_added_++};
  for (int32_t token : sequence->tokens()) Append(&book, token);
}

absl::Status SchedulerChecker::Removed(const SequenceKey& key) {
  if (books_.erase({key.client_id, key.sequence_id}) == 1) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("sequence ", key.client_id, "/", key.sequence_id, " ended twice"));
}

int64_t SchedulerChecker::StepBound() const {
  // Every step brings somebody on (CheckOrder); what is lost to preemption is computed again.
  int64_t tokens = 0;
  for (const auto& [key, book] : books_) {
    tokens += book.sequence->num_prompt_tokens() + book.sequence->params().max_tokens;
  }
  return 4 * tokens + 100;
}

absl::Status SchedulerChecker::CheckLimits(const ScheduledStep& step) const {
  int64_t tokens = 0, rows = 0;
  std::set<const Sequence*> sequences;
  std::set<int32_t> slots;
  for (const ScheduledSequence& scheduled : step.sequences) {
    const Sequence& sequence = *scheduled.sequence;
    tokens += scheduled.num_new_tokens;
    rows += scheduled.num_logits;
    if (!sequences.insert(&sequence).second) return Violation(sequence, "twice in a step");
    if (sequence.slot < 0 || sequence.slot >= options_.max_num_seqs) {
      return Violation(sequence, "slot ", sequence.slot);
    }
    if (!slots.insert(sequence.slot).second) {
      return Violation(sequence, "slot ", sequence.slot, " is another one's too");
    }
  }
  if (tokens > options_.max_num_batched_tokens) {
    return absl::InternalError(absl::StrCat(tokens, " tokens in a step"));
  }
  if (rows > options_.max_num_seqs + options_.max_prompt_logprob_rows) {
    return absl::InternalError(absl::StrCat(rows, " rows of logits in a step"));
  }
  counters_->full_budgets += tokens == options_.max_num_batched_tokens;
  return absl::OkStatus();
}

absl::Status SchedulerChecker::CheckTables(const ScheduledStep& step) {
  for (const BlockTableUpdate& update : step.block_updates) {
    std::vector<int32_t>& table = tables_[update.slot];
    if (update.first > static_cast<int64_t>(table.size())) {
      return absl::InternalError(absl::StrCat("slot ", update.slot, " has ", table.size(),
                                              " blocks, the update begins at ", update.first));
    }
    table.resize(update.first);
    table.insert(table.end(), update.blocks.begin(), update.blocks.end());
  }
  for (const ScheduledSequence& scheduled : step.sequences) {
    if (tables_[scheduled.sequence->slot] != scheduled.sequence->blocks) {
      return Violation(*scheduled.sequence, "the ranks know other blocks than the sequence has");
    }
  }
  return absl::OkStatus();
}

absl::Status SchedulerChecker::NoteRunning() {
  for (auto& [key, book] : books_) {
    const Sequence& sequence = *book.sequence;
    const bool was_preempted = sequence.num_preemptions != book.num_preemptions;
    counters_->preempted += was_preempted;
    book.num_preemptions = sequence.num_preemptions;
    book.was_running = book.is_running && !was_preempted;
    book.is_running = sequence.slot >= 0;
    if (!book.was_running) {
      book.num_computed = 0;
      book.num_known_blocks = 0;
    }
    if (!book.is_running && !sequence.blocks.empty()) {
      return Violation(sequence, "waits and holds ", sequence.blocks.size(), " blocks");
    }
  }
  return CountHolders();
}

// Nobody starves: of those that wait nobody is let in before one that ranks earlier (with tenants:
// one of the same tenant and priority), and the first of those that run is in every step. So the
// first one ends, and then the next is the first.
absl::Status SchedulerChecker::CheckOrder(const ScheduledStep& step) {
  const Book* first_running = nullptr;
  const Book* first_waiting = nullptr;
  for (const auto& [key, book] : books_) {
    const Book*& first = book.is_running ? first_running : first_waiting;
    if (first == nullptr || book.rank < first->rank) first = &book;
  }
  for (const auto& [key, book] : books_) {
    if (book.is_running && !book.was_running) RETURN_IF_ERROR(CheckLetIn(book));
  }
  if (first_running == nullptr) {
    return first_waiting == nullptr || HasUncommitted()
               ? absl::OkStatus()
               : Violation(*first_waiting->sequence, "waits though nothing runs");
  }
  if (has_tenants_) {
    return step.sequences.empty() && !HasUncommitted()
               ? Violation(*first_running->sequence, "runs, and the step is empty")
               : absl::OkStatus();
  }
  const Sequence& first = *first_running->sequence;
  // It may have nothing to do if the step before, not committed yet, brings its last token.
  if (first_running->tokens.size() > first.tokens().size()) return absl::OkStatus();
  for (const auto& scheduled : step.sequences) {
    if (scheduled.sequence == &first) return absl::OkStatus();
  }
  return Violation(first, "is the first of those that run, but not in the step");
}

absl::Status SchedulerChecker::CheckLetIn(const Book& newcomer) const {
  const SequenceRequest& request = newcomer.sequence->request();
  for (const auto& [key, book] : books_) {
    if (book.is_running || newcomer.rank < book.rank) continue;
    const SequenceRequest& other = book.sequence->request();
    if (has_tenants_ && (other.tenant != request.tenant || other.priority != request.priority)) {
      continue;
    }
    return Violation(*newcomer.sequence, "was let in before ", other.key.sequence_id,
                     ", which ranks earlier");
  }
  return absl::OkStatus();
}

// Whoever writes its output gets a token in every step, whatever prompts are read beside it.
absl::Status SchedulerChecker::CheckDecodes(const ScheduledStep& step) const {
  std::set<const Sequence*> scheduled;
  for (const ScheduledSequence& each : step.sequences) scheduled.insert(each.sequence);
  for (const auto& [key, book] : books_) {
    const int64_t num_left = static_cast<int64_t>(book.tokens.size()) - book.num_computed;
    if (!book.is_running || !book.was_running || !book.has_sampled) continue;
    if (num_left != 1 || HasAllTokens(book)) continue;
    if (scheduled.contains(book.sequence)) continue;
    return Violation(*book.sequence, "writes its output and is not in the step");
  }
  return absl::OkStatus();
}

bool SchedulerChecker::HasAllTokens(const Book& book) const {
  const int64_t num_tokens = static_cast<int64_t>(book.tokens.size());
  return num_tokens >= options_.max_model_len ||
         num_tokens - book.sequence->num_prompt_tokens() >= book.sequence->params().max_tokens;
}

bool SchedulerChecker::HasUncommitted() const {
  for (const auto& [key, book] : books_) {
    if (static_cast<int64_t>(book.tokens.size()) > book.sequence->num_tokens()) return true;
  }
  return false;
}

absl::Status SchedulerChecker::CheckLogits(const ScheduledSequence& scheduled, Book* book,
                                           int64_t end) {
  const Sequence& sequence = *scheduled.sequence;
  const int64_t prompt_rows = scheduled.num_logits - (scheduled.samples ? 1 : 0);
  if (scheduled.samples != (end == static_cast<int64_t>(book->tokens.size()))) {
    return Violation(sequence, "samples or not at token ", end, " of ", book->tokens.size());
  }
  const bool wants = sequence.params().num_prompt_logprobs >= 0 &&
                     sequence.request().output_ids.empty() && !book->has_sampled;
  // Row r tells about the token at r + 1; the rows that must be there are those not reported yet.
  const int64_t last = std::min(end, sequence.num_prompt_tokens() - 1);
  const int64_t want = wants ? std::max<int64_t>(0, last - book->num_prompt_logprobs) : 0;
  if (prompt_rows != want) {
    return Violation(sequence, prompt_rows, " rows of prompt log-probabilities up to token ", end,
                     ", expected ", want);
  }
  if (scheduled.num_logits > scheduled.num_new_tokens) {
    return Violation(sequence, scheduled.num_logits, " rows of logits of ",
                     scheduled.num_new_tokens, " tokens");
  }
  book->num_prompt_logprobs += prompt_rows;
  counters_->prompt_logprob_rows += prompt_rows;
  return absl::OkStatus();
}

// A block that a sequence has newly taken contains nothing beyond what it takes as computed.
void SchedulerChecker::ForgetNewBlocks(Book* book, int64_t first_new_token) {
  const std::vector<int32_t>& blocks = book->sequence->blocks;
  for (size_t i = book->num_known_blocks; i < blocks.size(); ++i) {
    if (num_holders_[blocks[i]] > 1) continue;
    for (int64_t offset = 0; offset < kBlockTokens; ++offset) {
      const int64_t position = static_cast<int64_t>(i) * kBlockTokens + offset;
      if (position >= first_new_token) cells_[blocks[i] * kBlockTokens + offset] = 0;
    }
  }
  book->num_known_blocks = blocks.size();
}

absl::Status SchedulerChecker::CheckChunk(const ScheduledSequence& scheduled, Book* book) {
  const Sequence& sequence = *scheduled.sequence;
  const int64_t begin = scheduled.first_position;
  const int64_t end = begin + scheduled.num_new_tokens;
  const int64_t num_tokens = static_cast<int64_t>(book->tokens.size());
  if (HasAllTokens(*book)) {
    return Violation(sequence, "has all of its ", num_tokens, " tokens and is scheduled again");
  }
  if (scheduled.num_new_tokens < 1 || end > num_tokens) {
    return Violation(sequence, "tokens [", begin, ", ", end, ") of ", num_tokens);
  }
  if (end > static_cast<int64_t>(sequence.blocks.size()) * kBlockTokens) {
    return Violation(sequence, sequence.blocks.size(), " blocks for ", end, " tokens");
  }
  if (book->was_running && begin != book->num_computed) {
    return Violation(sequence, "goes on at token ", begin, ", it was at ", book->num_computed);
  }
  if (!book->was_running) counters_->cached_tokens += begin;
  counters_->chunks_off_block_edges += end % kBlockTokens != 0 && !scheduled.samples;
  ForgetNewBlocks(book, begin);
  RETURN_IF_ERROR(CheckLogits(scheduled, book, end));
  book->num_computed = end;
  return absl::OkStatus();
}

absl::Status SchedulerChecker::WriteCells(const ScheduledSequence& scheduled, const Book& book) {
  const Sequence& sequence = *scheduled.sequence;
  for (int64_t i = scheduled.first_position; i < book.num_computed; ++i) {
    const int32_t block = sequence.blocks[i / kBlockTokens];
    const int64_t cell = block * kBlockTokens + i % kBlockTokens;
    // Others may hold a block that is being computed, but only one computes it; what they read is
    // checked afterwards.
    if (!written_.insert(cell).second) {
      return Violation(sequence, "writes token ", i, " into block ", block,
                       ", which another one holds");
    }
    cells_[cell] = book.digests[i];
  }
  return absl::OkStatus();
}

absl::Status SchedulerChecker::ReadCells(const ScheduledSequence& scheduled,
                                         const Book& book) const {
  for (int64_t i = 0; i < book.num_computed; ++i) {
    const int32_t block = scheduled.sequence->blocks[i / kBlockTokens];
    const uint64_t cell = cells_[block * kBlockTokens + i % kBlockTokens];
    if (cell != book.digests[i]) {
      return Violation(*scheduled.sequence, "reads ", cell == 0 ? "nothing" : "something else",
                       " at token ", i, " in block ", block);
    }
  }
  return absl::OkStatus();
}

absl::Status SchedulerChecker::CheckStep(ScheduledStep step, CheckedStep* out) {
  ++counters_->steps;
  RETURN_IF_ERROR(CheckLimits(step));
  RETURN_IF_ERROR(CheckTables(step));
  RETURN_IF_ERROR(NoteRunning());
  RETURN_IF_ERROR(CheckOrder(step));
  RETURN_IF_ERROR(CheckDecodes(step));
  out->keys.clear();
  out->sampled.clear();
  for (const ScheduledSequence& scheduled : step.sequences) {
    const SequenceKey key = scheduled.sequence->request().key;
    Book* book = Find(key);
    if (book == nullptr) return Violation(*scheduled.sequence, "scheduled after its end");
    RETURN_IF_ERROR(CheckChunk(scheduled, book));
    out->keys.push_back(key);
  }
  // All of a step's keys and values are written before attention reads any.
  written_.clear();
  for (const ScheduledSequence& scheduled : step.sequences) {
    RETURN_IF_ERROR(WriteCells(scheduled, *Find(scheduled.sequence->request().key)));
  }
  for (const ScheduledSequence& scheduled : step.sequences) {
    Book& book = *Find(scheduled.sequence->request().key);
    RETURN_IF_ERROR(ReadCells(scheduled, book));
    out->sampled.push_back(scheduled.samples ? SampledToken(book) : -1);
    if (!scheduled.samples) continue;
    book.has_sampled = true;
    Append(&book, out->sampled.back());
  }
  out->step = std::move(step);
  return absl::OkStatus();
}

absl::Status SchedulerChecker::CountHolders() {
  std::fill(num_holders_.begin(), num_holders_.end(), 0);
  std::fill(uses_.begin(), uses_.end(), BlockUse());
  for (const auto& [key, book] : books_) {
    const std::vector<int32_t>& blocks = book.sequence->blocks;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i] < 0 || blocks[i] >= options_.num_blocks) {
        return Violation(*book.sequence, "block ", blocks[i]);
      }
      // Shared: at the same place, full, and with equal tokens up to the block's end.
      const size_t end = (i + 1) * kBlockTokens;
      const BlockUse use = {static_cast<int64_t>(i),
                            end <= book.digests.size() ? book.digests[end - 1] : 0};
      if (++num_holders_[blocks[i]] == 1) {
        uses_[blocks[i]] = use;
      } else if (use.digest == 0 || use.index != uses_[blocks[i]].index ||
                 use.digest != uses_[blocks[i]].digest) {
        return Violation(*book.sequence, "holds block ", blocks[i],
                         ", which another one holds with other tokens");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SchedulerChecker::CheckBlocks(const PoolUse& use) {
  RETURN_IF_ERROR(CountHolders());
  int64_t held = 0;
  for (int holders : num_holders_) {
    held += holders > 0;
    counters_->shared_blocks += holders > 1;
  }
  if (use.num_used != held) {
    return absl::InternalError(absl::StrCat(use.num_used, " blocks in use, sequences hold ", held));
  }
  if (use.num_used + use.num_cached + use.num_free != options_.num_blocks) {
    return absl::InternalError(absl::StrCat(use.num_used, " used, ", use.num_cached, " cached and ",
                                            use.num_free, " free blocks of ", options_.num_blocks));
  }
  return absl::OkStatus();
}

absl::Status SchedulerChecker::CheckTokens(const Sequence& sequence) const {
  const SequenceKey& key = sequence.request().key;
  const auto it = books_.find({key.client_id, key.sequence_id});
  if (it == books_.end()) return Violation(sequence, "unknown");
  const std::vector<int32_t>& tokens = it->second.tokens;
  const auto& got = sequence.tokens();
  if (got.size() <= tokens.size() && std::equal(got.begin(), got.end(), tokens.begin())) {
    return absl::OkStatus();
  }
  return Violation(sequence, "has other tokens than it would have alone");
}

}  // namespace quartet::engine
