#include "worker/model/testing/random_batches.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/ops.h"

namespace quartet::model::testing {
namespace {

using kernels::kBlockTokens;

void AppendTokens(const Text& text, int64_t first, int64_t count,
                  const std::vector<int32_t>& blocks, StepInput* input) {
  if (input->query_start.empty()) input->query_start.push_back(0);
  for (int64_t t = first; t < first + count; ++t) {
    input->token_ids.push_back(text.tokens[t]);
    input->positions.push_back(static_cast<int32_t>(t));
    input->slot_mapping.push_back(
        static_cast<int32_t>(blocks[t / kBlockTokens] * kBlockTokens + t % kBlockTokens));
  }
  input->query_start.push_back(static_cast<int32_t>(input->num_tokens()));
  input->kv_len.push_back(static_cast<int32_t>(first + count));
}

}  // namespace

StepInput StepOf(const Text& text, int64_t first, int64_t count,
                 const std::vector<int32_t>& blocks) {
  StepInput input;
  AppendTokens(text, first, count, blocks, &input);
  input.max_blocks = static_cast<int32_t>(blocks.size());
  input.block_tables = blocks;
  input.logits_rows.resize(count);
  std::iota(input.logits_rows.begin(), input.logits_rows.end(), 0);
  return input;
}

RandomBatches::RandomBatches(const RandomBatchesOptions& options, const std::vector<Text>& texts,
                             DecoderGroup* model, std::mt19937_64* random, BatchCounters* counters)
    : options_(options),
      texts_(texts),
      model_(*model),
      random_(*random),
      counters_(*counters),
      progress_(texts.size()),
      holders_(options.num_blocks, 0),
      free_(options.num_blocks) {
  std::iota(free_.begin(), free_.end(), 0);
}

int64_t RandomBatches::Pick(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random_);
}

bool RandomBatches::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

int64_t RandomBatches::Left(size_t text) const {
  return progress_[text].is_finished
             ? 0
             : static_cast<int64_t>(texts_[text].tokens.size()) - progress_[text].num_computed;
}

int64_t RandomBatches::PickChunk(int64_t left) {
  switch (Pick(0, 3)) {
    case 0:
      return std::min<int64_t>(left, 16);
    case 1:
      return Pick(1, left);
    default:
      return 1;
  }
}

// Takes over the computed blocks of the text that begins alike for longest, as a prefix cache does.
// The last token is always computed.
void RandomBatches::SharePrefix(size_t text) {
  const std::vector<int32_t>& tokens = texts_[text].tokens;
  Progress& progress = progress_[text];
  for (size_t other = 0; other < texts_.size(); ++other) {
    const std::vector<int32_t>& others = texts_[other].tokens;
    const int64_t most =
        std::min<int64_t>({progress_[other].num_computed, static_cast<int64_t>(tokens.size()) - 1});
    const int64_t common =
        std::mismatch(tokens.begin(), tokens.begin() + std::max<int64_t>(most, 0), others.begin())
            .first -
        tokens.begin();
    const int64_t num_blocks = common / kBlockTokens;
    if (other == text || num_blocks <= static_cast<int64_t>(progress.blocks.size())) continue;
    progress.blocks.assign(progress_[other].blocks.begin(),
                           progress_[other].blocks.begin() + num_blocks);
  }
  for (int32_t block : progress.blocks) ++holders_[block];
  progress.num_computed = static_cast<int64_t>(progress.blocks.size()) * kBlockTokens;
  counters_.shared_blocks += static_cast<int64_t>(progress.blocks.size());
}

void RandomBatches::Drop(size_t text) {
  for (int32_t block : progress_[text].blocks) {
    if (--holders_[block] == 0) free_.push_back(block);
  }
  const bool was_finished = progress_[text].is_finished;
  counters_.preemptions += !was_finished && progress_[text].num_computed > 0;
  progress_[text] = Progress();
  progress_[text].is_finished = was_finished;
}

// Any free block, if need be from a text that has no part in the step: a finished one, or one that
// stands behind. False if there is none.
bool RandomBatches::TakeBlock(size_t text) {
  for (bool finished : {true, false}) {
    for (size_t other = texts_.size(); other-- > 0 && free_.empty();) {
      const Progress& progress = progress_[other];
      if (progress.num_new_tokens > 0 || progress.is_finished != finished) continue;
      if (finished || other > text) Drop(other);
    }
  }
  if (free_.empty()) return false;
  std::swap(free_[Pick(0, static_cast<int64_t>(free_.size()) - 1)], free_.back());
  progress_[text].blocks.push_back(free_.back());
  ++holders_[free_.back()];
  free_.pop_back();
  return true;
}

void RandomBatches::AddToStep(size_t text, int64_t num_tokens, StepInput* input,
                              std::vector<Row>* rows) {
  Progress& progress = progress_[text];
  const int64_t first_row = input->num_tokens();
  AppendTokens(texts_[text], progress.num_computed, num_tokens, progress.blocks, input);
  for (int64_t i = 0; i < num_tokens; ++i) {
    if (static_cast<int64_t>(rows->size()) == options_.max_logits_rows) break;
    if (!Chance(i + 1 == num_tokens ? 0.8 : 0.15)) continue;
    input->logits_rows.push_back(static_cast<int32_t>(first_row + i));
    rows->push_back({text, progress.num_computed + i});
  }
  progress.num_new_tokens = num_tokens;
  const int64_t end = progress.num_computed + num_tokens;
  counters_.chunks_off_block_edges += end % kBlockTokens != 0 && num_tokens > 1;
  counters_.chunks_of_16 += num_tokens == 16;
}

void RandomBatches::FinishTables(const std::vector<size_t>& texts, StepInput* input) const {
  for (size_t text : texts) {
    input->max_blocks =
        std::max(input->max_blocks, static_cast<int32_t>(progress_[text].blocks.size()));
  }
  for (size_t text : texts) {
    const std::vector<int32_t>& blocks = progress_[text].blocks;
    input->block_tables.insert(input->block_tables.end(), blocks.begin(), blocks.end());
    // What lies behind a sequence's blocks is never read.
    input->block_tables.resize(input->block_tables.size() + input->max_blocks - blocks.size(), -1);
  }
}

StepInput RandomBatches::BuildStep(std::vector<Row>* rows) {
  std::vector<size_t> order;
  for (size_t text = 0; text < texts_.size(); ++text) {
    if (Left(text) > 0) order.push_back(text);
  }
  std::shuffle(order.begin(), order.end(), random_);
  // Every number of rows up to a few tiles comes in turn, and now and then a large one.
  int64_t budget = num_steps_ % 48 + 1;
  if (Chance(0.1)) budget = Pick(1, options_.max_step_tokens);
  bool only_single = Chance(0.3);
  if (num_steps_ < 4) {  // a full batch for certain, while all texts are there
    budget = options_.max_step_tokens;
    only_single = true;
  }
  StepInput input;
  std::vector<size_t> taken;
  int64_t longest = 0, shortest = options_.max_step_tokens;
  for (size_t text : order) {
    if (budget == 0 || static_cast<int64_t>(taken.size()) == options_.max_sequences) break;
    Progress& progress = progress_[text];
    if (progress.blocks.empty() && Chance(0.7)) SharePrefix(text);
    int64_t chunk = std::min(budget, only_single ? 1 : PickChunk(Left(text)));
    const int64_t end = progress.num_computed + chunk;
    bool has_room = true;
    while (has_room && static_cast<int64_t>(progress.blocks.size()) * kBlockTokens < end) {
      has_room = TakeBlock(text);
    }
    chunk = std::min<int64_t>(
        chunk, static_cast<int64_t>(progress.blocks.size()) * kBlockTokens - progress.num_computed);
    if (chunk <= 0) continue;
    AddToStep(text, chunk, &input, rows);
    taken.push_back(text);
    budget -= chunk;
    longest = std::max(longest, chunk);
    shortest = std::min(shortest, chunk);
  }
  FinishTables(taken, &input);
  counters_.full_batches += static_cast<int64_t>(taken.size()) == options_.max_sequences;
  counters_.mixed_batches += shortest == 1 && longest > 1;
  return input;
}

absl::Status RandomBatches::Compare(const std::vector<Row>& rows) {
  std::vector<float> logits(options_.vocab_size);
  for (size_t row = 0; row < rows.size(); ++row) {
    RETURN_IF_ERROR(model_.ReadLogits(static_cast<int64_t>(row), std::span<float>(logits)));
    const float* want =
        texts_[rows[row].text].logits.data() + rows[row].position * options_.vocab_size;
    if (std::memcmp(logits.data(), want, logits.size() * sizeof(float)) != 0) {
      return absl::InternalError(absl::StrCat("step ", num_steps_, ": the logits of text ",
                                              rows[row].text, " differ at position ",
                                              rows[row].position));
    }
    ++counters_.rows_compared;
  }
  return absl::OkStatus();
}

// Finished texts are wanted once more while the others still lie in the cache.
void RandomBatches::WantSomeAgain() {
  for (size_t text = 0; text < texts_.size(); ++text) {
    if (!Chance(0.5)) continue;
    Drop(text);
    progress_[text].is_finished = false;
  }
}

absl::Status RandomBatches::Run() {
  for (int times = 0;; ++num_steps_) {
    std::vector<Row> rows;
    const StepInput input = BuildStep(&rows);
    if (input.num_tokens() == 0) {
      if (++times == 2) return absl::OkStatus();
      WantSomeAgain();
      continue;
    }
    ++counters_.steps;
    RETURN_IF_ERROR(model_.Forward(input));
    RETURN_IF_ERROR(Compare(rows));
    for (size_t text = 0; text < texts_.size(); ++text) {
      Progress& progress = progress_[text];
      progress.num_computed += progress.num_new_tokens;
      progress.num_new_tokens = 0;
      if (Left(text) == 0) progress.is_finished = true;
    }
    if (Chance(0.04)) Drop(Pick(0, static_cast<int64_t>(texts_.size()) - 1));
  }
}

}  // namespace quartet::model::testing
