// What every rank does before it can run steps: read the model's configuration, load its shard, and
// work out how large a KV cache and a context it can serve. Knows the kinds of device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"
#include "quartet/worker/v1/group.pb.h"
#include "quartet/worker/v1/worker.pb.h"
#include "worker/device/device.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/step_watchdog.h"
#include "worker/model/checkpoint.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/model/weights.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/shard.h"
#include "worker/simulated/step_time.h"

namespace quartet::worker_service {

struct WorkerOptions {
  std::string model;
  int rank = 0;
  int world_size = 1;
  std::string address;         // what the leader listens on
  std::string leader_address;  // what followers connect to
  std::string device = "cpu";
  std::string sim_profile;    // simulated: name or file of the hardware's profile
  double sim_time_scale = 1;  // simulated: multiplies all device times
  int num_threads = 0;        // 0: the cores divided by the ranks
  std::string instruction_set = "auto";
  kernels::DType compute_dtype = kernels::DType::kBFloat16;
  int64_t max_model_len = 0;   // 0: what the model and the memory allow
  std::string rope_scaling;    // JSON; empty: the model's own
  int64_t kv_cache_bytes = 0;  // 0: a share of the free memory
  int64_t max_num_batched_tokens = 512;
  int64_t max_num_seqs = 64;
  int64_t max_waiting = 1024;
  int64_t max_waiting_tokens = int64_t{1} << 20;
  bool enable_prefix_caching = true;
  absl::Duration itl_target = absl::Milliseconds(100);  // zero: prompts take what they can
  std::string metrics_address = "127.0.0.1:0";          // of the leader; empty: none
  std::string tokenizer_address;                        // for grammars; empty: there are none
  int64_t max_grammar_bytes = int64_t{128} << 10;       // of one request's format
  int64_t grammar_cache_bytes = int64_t{256} << 20;
  absl::Duration grammar_timeout = absl::Seconds(10);  // of one compilation
  absl::Duration group_timeout = absl::Minutes(30);
  int local_ranks = 0;  // ranks that share this host's cores and memory; 0: world_size
  // The step watchdog's floor, and the factor of its prediction.
  absl::Duration step_timeout = absl::Seconds(30);
  double step_timeout_factor = 4;
  absl::Duration idle_probe_interval = absl::Seconds(5);
};

// One rank, before the group forms.
struct Shard {
  model::LoadedConfig config;
  parallel::Shard layout;
  // With the simulated device: the host's, which the ranks need to meet.
  std::unique_ptr<device::Device> device;
  std::unique_ptr<model::Checkpoint> checkpoint;  // null with the simulated device
  std::optional<simulated::StepTime> step_time;   // of the simulated device
  std::string device_kind;                        // "cpu", "simulated"
  std::string numerics_id;                        // the device's, and the dtype
  int num_threads = 1;
  // The context that the model or --max_model_len asks for; memory may allow less.
  int64_t wanted_model_len = 0;
  // They move into the model and leave their numbers here. The simulated device has the numbers
  // alone.
  model::ModelWeights weights;
  double load_seconds = 0;
  int64_t kv_block_bytes = 0;
  int64_t max_kv_blocks = 0;   // that this rank's memory allows if others want as much
  int64_t lone_kv_blocks = 0;  // that it allows if the others on the host hold theirs already
};

// Checks the flags and opens the model's files without reading weights; the simulated device needs
// none but the configuration. Errors name flag or file.
absl::StatusOr<Shard> OpenShard(const WorkerOptions& options);

// Reads the weights, then fills the fields that depend on them. Returns RESOURCE_EXHAUSTED with
// the sums if not even one sequence fits into the KV cache.
absl::Status LoadShard(const WorkerOptions& options, Shard* shard);

// The context that is served with this many blocks: wanted_model_len, or less with a log line if
// --max_model_len doesn't insist. Returns RESOURCE_EXHAUSTED with the sums if it does.
absl::StatusOr<int64_t> ServedModelLen(const WorkerOptions& options, const Shard& shard,
                                       int64_t num_kv_blocks);

// The model on the device that the flags name; takes the shard's weights. Logs what the rank holds.
absl::StatusOr<std::unique_ptr<model::Model>> BuildModel(const WorkerOptions& options, Shard* shard,
                                                         int64_t num_kv_blocks,
                                                         parallel::Communicator& communicator);

// Joins the group's shared memory; world size 1 needs none. While it waits for others it asks
// `check`, whose error ends the waiting.
absl::StatusOr<std::unique_ptr<parallel::Communicator>> Connect(
    const WorkerOptions& options, const Shard& shard, const worker::v1::GroupFormed& formed,
    std::function<absl::Status()> check);

// BuildModel the first time (`model` is null), JoinGroup later.
absl::Status BuildOrRejoin(const WorkerOptions& options, Shard* shard, int64_t num_kv_blocks,
                           parallel::Communicator& communicator,
                           std::unique_ptr<model::Model>* model);

// What the shared memory of a leader's groups is called before the epoch, by the address that it
// listens on; the name of a Unix socket's folder in it is how `quartet serve` finds leftovers.
std::string SegmentPrefix(const std::string& address, int port);

engine::StepWatchdog::Options WatchdogOptions(const WorkerOptions& options, const Shard& shard);

// What this rank holds now.
worker::v1::RankReport ReportOf(const WorkerOptions& options, const Shard& shard,
                                int64_t num_kv_blocks);

}  // namespace quartet::worker_service
