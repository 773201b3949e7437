// Reads one rank's slices of a checkpoint and packs them into device memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/device/device.h"
#include "worker/model/checkpoint.h"
#include "worker/model/model_config.h"
#include "worker/model/weights.h"
#include "worker/parallel/shard.h"

namespace quartet::model {

struct LoadProgress {
  int64_t bytes_done = 0;   // of packed weights
  int64_t bytes_total = 0;  // this rank's
  double seconds_left = 0;  // at the mean speed so far
};

struct LoadOptions {
  // Threads that read and pack; 0: one a core, from two to four.
  int num_threads = 0;
  // Weights that a thread reads at a time; at least 64 rows. Small enough that a few threads'
  // buffers and mapped pages don't count, large enough that letting go of pages costs little.
  int64_t chunk_bytes = 4 << 20;
  // Beside the log lines, which LoadWeights writes itself. Called from any of the threads, never
  // from two at once. May be null.
  std::function<void(const LoadProgress&)> progress;
};

// The sizes that a shard divides.
parallel::ShardedSizes ShardedSizesOf(const ModelConfig& config);

// Parameters of the whole model; a tied output matrix counts once.
int64_t NumParameters(const ModelConfig& config);

// SHA-256 in hex over the checkpoint's ContentHash and every field of `config` that a token depends
// on (so --rope_scaling is part of it; --max_model_len is not, except for dynamic RoPE, whose
// frequencies the caller fixes). Equal on all ranks and at all world sizes.
absl::StatusOr<std::string> ModelHash(const Checkpoint& checkpoint, const ModelConfig& config);

// The same with a ContentHash that is known, or that stands for weights that there are not.
std::string ModelHash(absl::string_view content_hash, const ModelConfig& config);

// Checks name, dtype and shape of every tensor that the model has, then reads and packs this rank's
// part. Peak memory of the process: packed bytes + less than 512 MB. Returns INVALID_ARGUMENT
// naming file and tensor if one is missing or has the wrong shape, RESOURCE_EXHAUSTED if the device
// has no room.
absl::StatusOr<ModelWeights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                                         const parallel::Shard& shard, device::Device& device,
                                         const LoadOptions& options = {});

}  // namespace quartet::model
