#include "worker/simulated/simulated_model.h"

#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/ops.h"

namespace quartet::simulated {
namespace {

using kernels::kBlockTokens;

// A cache line of floats.
constexpr int64_t kMeetingValues = 16;
// Earlier positions that a row of logits looks at. They are drawn by its own position's number, so
// one damaged block of many is found within a few tokens.
constexpr uint64_t kProbes = 4;
constexpr uint64_t kFirstLink = 0x51a7e7;  // stands before position 0

// Where position `position` of a sequence lies in the cache, by its block table.
int64_t SlotOf(const model::StepInput& input, int64_t sequence, int64_t position) {
  const int64_t block =
      input
          .block_tables[static_cast<size_t>(sequence * input.max_blocks + position / kBlockTokens)];
  return block * kBlockTokens + position % kBlockTokens;
}

// A number that floats add up exactly.
float DigestOf(const model::StepInput& input) {
  uint64_t digest = static_cast<uint64_t>(input.num_tokens());
  for (const int32_t slot : input.slot_mapping) digest = digest * 31 + static_cast<uint32_t>(slot);
  return static_cast<float>(Mix(digest) >> 50);
}

}  // namespace

Clock SteadyClock() {
  Clock clock;
  clock.now = [] {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  };
  clock.sleep_until = [](double deadline) {
    // Threads wake up to 50 us late by default.
    thread_local const int slack = prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    static_cast<void>(slack);
    timespec until{};
    until.tv_sec = static_cast<time_t>(deadline);
    until.tv_nsec = static_cast<long>((deadline - std::floor(deadline)) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
  };
  return clock;
}

SimulatedModel::SimulatedModel(const StepTime& step_time, const SimulatedModelOptions& options,
                               parallel::Communicator& communicator)
    : step_time_(step_time), options_(options), communicator_(&communicator) {}

absl::StatusOr<std::unique_ptr<SimulatedModel>> SimulatedModel::Create(
    const model::ModelConfig& config, const StepTime& step_time,
    const SimulatedModelOptions& options, device::Device& host,
    parallel::Communicator& communicator) {
  std::unique_ptr<SimulatedModel> model(new SimulatedModel(step_time, options, communicator));
  model->token_space_ = {config.vocab_size, config.eos_token_ids};
  ASSIGN_OR_RETURN(model->meeting_memory_,
                   host.Allocate(2 * kMeetingValues * static_cast<int64_t>(sizeof(float))));
  model->queue_ = host.NewQueue();
  RETURN_IF_ERROR(model->JoinGroup(communicator, options.num_kv_blocks));
  return model;
}

absl::Status SimulatedModel::JoinGroup(parallel::Communicator& communicator,
                                       int64_t num_kv_blocks) {
  constexpr int64_t kMaxBlocks = (int64_t{1} << 31) / kBlockTokens;
  if (num_kv_blocks < 1 || num_kv_blocks >= kMaxBlocks) {
    return absl::InvalidArgumentError(absl::StrCat("the KV cache has ", num_kv_blocks,
                                                   " blocks; it needs 1 to ", kMaxBlocks - 1));
  }
  communicator_ = &communicator;
  row_hashes_.clear();
  if (communicator.rank() == 0) {
    chain_.assign(static_cast<size_t>(num_kv_blocks * kBlockTokens), 0);
  }
  return absl::OkStatus();
}

// Every rank says what it makes of the plan; nobody goes on before all are there, as in a forward
// pass's first all-reduce.
absl::Status SimulatedModel::MeetOtherRanks(const model::StepInput& input) {
  const auto own = meeting_memory_->data().As<float>();
  const auto sums = own + kMeetingValues;
  const float digest = DigestOf(input);
  RETURN_IF_ERROR(queue_->Upload(own.As<void>(), &digest, sizeof(digest)));
  RETURN_IF_ERROR(communicator_->AllReduceSegments(*queue_, own, 1, kMeetingValues, sums));
  float sum = 0;
  RETURN_IF_ERROR(queue_->ReadBack(&sum, sums.As<void>(), sizeof(sum)));
  RETURN_IF_ERROR(queue_->Wait());
  if (sum == digest * static_cast<float>(communicator_->world_size())) return absl::OkStatus();
  return absl::InternalError("the ranks' steps differ: their block tables are not the same");
}

void SimulatedModel::WriteChain(const model::StepInput& input, int64_t sequence) {
  for (int32_t t = input.query_start[sequence]; t < input.query_start[sequence + 1]; ++t) {
    const int64_t position = input.positions[t];
    const uint64_t before =
        position == 0 ? kFirstLink
                      : chain_[static_cast<size_t>(SlotOf(input, sequence, position - 1))];
    chain_[static_cast<size_t>(input.slot_mapping[t])] =
        Mix(before ^
            Mix(static_cast<uint64_t>(position) << 32 | static_cast<uint32_t>(input.token_ids[t])));
  }
}

uint64_t SimulatedModel::HashOfRow(const model::StepInput& input, int64_t sequence,
                                   int32_t row) const {
  const int64_t position = input.positions[row];
  const uint64_t own = chain_[static_cast<size_t>(SlotOf(input, sequence, position))];
  uint64_t hash = own;
  // Where to look depends on `own` alone, so that the loads needn't wait for each other.
  for (uint64_t probe = 0; probe < kProbes; ++probe) {
    const int64_t earlier =
        static_cast<int64_t>(Mix(own + probe) % static_cast<uint64_t>(position + 1));
    hash = Mix(hash ^ chain_[static_cast<size_t>(SlotOf(input, sequence, earlier))]);
  }
  return hash;
}

absl::Status SimulatedModel::ShareTokenIds(std::vector<int32_t>* ids) {
  return communicator_->Broadcast(ids->data(), static_cast<int64_t>(ids->size() * sizeof(int32_t)));
}

absl::Status SimulatedModel::Forward(const model::StepInput& input) {
  row_hashes_.clear();
  if (communicator_->rank() != 0 || input.num_tokens() == 0) return MeetOtherRanks(input);
  const double start = std::max(free_at_, options_.clock.now());
  free_at_ = start + options_.time_scale * step_time_.Seconds(WorkOf(input));
  for (int64_t s = 0; s < input.num_sequences(); ++s) WriteChain(input, s);
  int64_t sequence = 0;
  for (const int32_t row : input.logits_rows) {
    while (row >= input.query_start[sequence + 1]) ++sequence;
    row_hashes_.push_back(HashOfRow(input, sequence, row));
  }
  // Halfway: by then the others have the plan and nobody wakes to no purpose.
  if (communicator_->world_size() > 1) options_.clock.sleep_until((start + free_at_) / 2);
  RETURN_IF_ERROR(MeetOtherRanks(input));
  if (row_hashes_.empty()) options_.clock.sleep_until(free_at_);
  return absl::OkStatus();
}

absl::Status SimulatedModel::Sample(std::span<const kernels::SampleRow> rows,
                                    std::vector<kernels::SampledToken>* out) {
  out->clear();
  out->reserve(rows.size());
  for (const kernels::SampleRow& row : rows) {
    if (row.logits_row < 0 || row.logits_row >= static_cast<int64_t>(row_hashes_.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row.logits_row, " of ", row_hashes_.size(), " rows of logits"));
    }
    out->push_back(
        ChooseToken(token_space_, row_hashes_[static_cast<size_t>(row.logits_row)], row));
  }
  // The tokens are there when the device has computed them.
  options_.clock.sleep_until(free_at_);
  return absl::OkStatus();
}

}  // namespace quartet::simulated
