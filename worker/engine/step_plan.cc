#include "worker/engine/step_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/block_pool.h"

namespace quartet::engine {
namespace {

template <typename... Parts>
absl::Status Broken(const StepPlan& plan, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("plan of step ", plan.step, ": ", parts...));
}

bool IsIn(int64_t value, int64_t end) { return value >= 0 && value < end; }

}  // namespace

int64_t CountSampledTokens(const model::StepInput& input) {
  return std::count(input.token_ids.begin(), input.token_ids.end(), kSampledToken);
}

absl::Status FillSampledTokens(const std::vector<int32_t>& ids, int64_t vocab_size,
                               model::StepInput* input) {
  size_t next = 0;
  for (int32_t& token : input->token_ids) {
    if (token != kSampledToken) continue;
    if (next < ids.size() && IsIn(ids[next], vocab_size)) token = ids[next];
    ++next;
  }
  if (next == ids.size() && CountSampledTokens(*input) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the step needs ", next, " sampled tokens below ",
                                                 vocab_size, ", ", ids.size(),
                                                 " came: ", absl::StrJoin(ids, ", ")));
}

StepMirror::StepMirror(const StepLimits& limits, uint64_t epoch)
    : limits_(limits), epoch_(epoch), block_tables_(limits.max_num_seqs) {}

absl::Status StepMirror::CheckShape(const StepPlan& plan) const {
  if (plan.epoch != epoch_) {
    return Broken(plan, "it is of epoch ", plan.epoch, ", this group of epoch ", epoch_);
  }
  if (plan.step != last_step_ + 1) return Broken(plan, "the last step was ", last_step_);
  const size_t num_sequences = plan.slots.size();
  if (static_cast<int64_t>(num_sequences) > limits_.max_num_seqs) {
    return Broken(plan, num_sequences, " sequences, the limit is ", limits_.max_num_seqs);
  }
  if (plan.num_new_tokens.size() != num_sequences ||
      plan.num_cached_tokens.size() != num_sequences || plan.num_logits.size() != num_sequences) {
    return Broken(plan, "its arrays differ in length");
  }
  if (static_cast<int64_t>(plan.token_ids.size()) > limits_.max_num_batched_tokens) {
    return Broken(plan, plan.token_ids.size(), " tokens, the limit is ",
                  limits_.max_num_batched_tokens);
  }
  int64_t total = 0;
  for (size_t i = 0; i < num_sequences; ++i) {
    if (plan.num_new_tokens[i] < 1 || plan.num_cached_tokens[i] < 0 ||
        !IsIn(plan.num_logits[i], int64_t{plan.num_new_tokens[i]} + 1)) {
      return Broken(plan, "sequence ", i, " has ", plan.num_new_tokens[i], " new tokens, ",
                    plan.num_cached_tokens[i], " cached ones and wants ", plan.num_logits[i],
                    " rows of logits");
    }
    total += plan.num_new_tokens[i];
  }
  if (total != static_cast<int64_t>(plan.token_ids.size())) {
    return Broken(plan, plan.token_ids.size(), " token ids for ", total, " new tokens");
  }
  return CheckTokens(plan);
}

absl::Status StepMirror::CheckTokens(const StepPlan& plan) const {
  size_t token = 0;
  for (const int32_t num_new_tokens : plan.num_new_tokens) {
    for (int32_t i = 0; i < num_new_tokens; ++i) {
      const int32_t id = plan.token_ids[token++];
      if (IsIn(id, limits_.vocab_size) || (id == kSampledToken && num_new_tokens == 1)) continue;
      return Broken(plan, "token id ", id);
    }
  }
  return absl::OkStatus();
}

absl::Status StepMirror::ApplyBlockUpdates(const StepPlan& plan) {
  for (const BlockTableUpdate& update : plan.block_updates) {
    if (!IsIn(update.slot, limits_.max_num_seqs)) return Broken(plan, "slot ", update.slot);
    std::vector<int32_t>& table = block_tables_[update.slot];
    if (!IsIn(update.first, static_cast<int64_t>(table.size()) + 1)) {
      return Broken(plan, "slot ", update.slot, " has ", table.size(),
                    " blocks, the update begins at ", update.first);
    }
    for (int32_t block : update.blocks) {
      if (!IsIn(block, limits_.num_blocks)) return Broken(plan, "block ", block);
    }
    table.resize(update.first);
    table.insert(table.end(), update.blocks.begin(), update.blocks.end());
  }
  return absl::OkStatus();
}

absl::Status StepMirror::AddSequence(const StepPlan& plan, size_t index, model::StepInput* input) {
  const int32_t slot = plan.slots[index];
  if (!IsIn(slot, limits_.max_num_seqs)) return Broken(plan, "slot ", slot);
  const std::vector<int32_t>& table = block_tables_[slot];
  const int64_t cached = plan.num_cached_tokens[index];
  const int64_t end = cached + plan.num_new_tokens[index];
  if (end > static_cast<int64_t>(table.size()) * kBlockTokens) {
    return Broken(plan, "slot ", slot, " has ", table.size(), " blocks for ", end, " tokens");
  }
  for (int64_t position = cached; position < end; ++position) {
    input->positions.push_back(static_cast<int32_t>(position));
    input->slot_mapping.push_back(static_cast<int32_t>(
        table[position / kBlockTokens] * kBlockTokens + position % kBlockTokens));
  }
  const int32_t query_end = static_cast<int32_t>(input->positions.size());
  for (int32_t row = query_end - plan.num_logits[index]; row < query_end; ++row) {
    input->logits_rows.push_back(row);
  }
  input->query_start.push_back(query_end);
  input->kv_len.push_back(static_cast<int32_t>(end));
  return absl::OkStatus();
}

absl::Status StepMirror::Apply(const StepPlan& plan, model::StepInput* input) {
  RETURN_IF_ERROR(CheckShape(plan));
  RETURN_IF_ERROR(ApplyBlockUpdates(plan));
  *input = model::StepInput();
  input->token_ids = plan.token_ids;
  input->query_start.push_back(0);
  for (size_t i = 0; i < plan.slots.size(); ++i) RETURN_IF_ERROR(AddSequence(plan, i, input));

  int32_t longest = 0;
  for (const int32_t length : input->kv_len) longest = std::max(longest, length);
  input->max_blocks = static_cast<int32_t>(BlocksForTokens(longest));
  input->block_tables.assign(plan.slots.size() * static_cast<size_t>(input->max_blocks), 0);
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const std::vector<int32_t>& table = block_tables_[plan.slots[i]];
    std::copy_n(table.begin(), BlocksForTokens(input->kv_len[i]),
                input->block_tables.begin() + static_cast<int64_t>(i) * input->max_blocks);
  }
  last_step_ = plan.step;
  return absl::OkStatus();
}

}  // namespace quartet::engine
