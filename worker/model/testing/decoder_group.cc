#include "worker/model/testing/decoder_group.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tests/golden/golden_weights.h"
#include "worker/device/cpu_device.h"
#include "worker/model/checkpoint.h"
#include "worker/model/testing/model_files.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/shard.h"
#include "worker/parallel/shared_memory_communicator.h"
#include "worker/parallel/single_rank_communicator.h"

namespace quartet::model::testing {
namespace {

// Runs body(rank) for all ranks at once, rank 0 on the calling thread. The first error.
absl::Status OnAllRanks(int world_size, const std::function<absl::Status(int rank)>& body) {
  std::vector<absl::Status> results(world_size);
  std::vector<std::thread> threads;
  for (int rank = 1; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] { results[rank] = body(rank); });
  }
  results[0] = body(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<parallel::Communicator>> Connect(int rank, int world_size,
                                                                uint64_t epoch) {
  if (world_size == 1) return std::make_unique<parallel::SingleRankCommunicator>();
  parallel::SharedMemoryOptions shared;
  shared.name = absl::StrCat("/quartet_decoder_group_", getpid(), "_", epoch);
  shared.epoch = epoch;
  shared.rank = rank;
  shared.world_size = world_size;
  // So small that larger exchanges go in several pieces.
  shared.slot_bytes = 1 << 14;
  return parallel::SharedMemoryCommunicator::Connect(shared);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DecoderGroup>> DecoderGroup::Create(
    const ModelConfig& config, uint64_t model_seed, const DecoderGroupOptions& options) {
  static std::atomic<uint64_t> num_groups{0};
  const uint64_t epoch = ++num_groups;
  const TemporaryDirectory directory;
  RETURN_IF_ERROR(golden::WriteGoldenModel(directory.path(), config, model_seed, {}));
  ASSIGN_OR_RETURN(const auto checkpoint, OpenCheckpoint(directory.path()));
  std::unique_ptr<DecoderGroup> group(new DecoderGroup());
  group->ranks_.resize(options.world_size);
  const auto create_rank = [&](int index) -> absl::Status {
    Rank& rank = group->ranks_[index];
    ASSIGN_OR_RETURN(rank.device, device::NewCpuDevice({.num_threads = options.num_threads,
                                                        .instruction_set = options.instruction_set,
                                                        .path_counters = options.path_counters}));
    ASSIGN_OR_RETURN(const parallel::Shard shard,
                     parallel::MakeShard(ShardedSizesOf(config), index, options.world_size));
    ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(*checkpoint, config, shard, *rank.device,
                                                       {.num_threads = 1, .progress = {}}));
    ASSIGN_OR_RETURN(rank.communicator, Connect(index, options.world_size, epoch));
    ASSIGN_OR_RETURN(rank.decoder, Decoder::Create(config, std::move(weights), shard, *rank.device,
                                                   *rank.communicator, options.decoder));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(OnAllRanks(options.world_size, create_rank));
  return group;
}

absl::Status DecoderGroup::Forward(const StepInput& input) {
  return OnAllRanks(static_cast<int>(ranks_.size()),
                    [&](int rank) { return ranks_[rank].decoder->Forward(input); });
}

absl::Status DecoderGroup::Sample(std::span<const kernels::SampleRow> rows,
                                  std::vector<kernels::SampledToken>* out) {
  return ranks_[0].decoder->Sample(rows, out);
}

absl::Status DecoderGroup::ReadLogits(int64_t row, std::span<float> out) {
  return ranks_[0].decoder->ReadLogits(row, out);
}

}  // namespace quartet::model::testing
