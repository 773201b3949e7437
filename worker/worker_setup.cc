#include "worker/worker_setup.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/device/cpu_device.h"
#include "worker/device/cpu_resources.h"
#include "worker/model/decoder.h"
#include "worker/model/kv_cache.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/shared_memory_communicator.h"
#include "worker/parallel/single_rank_communicator.h"
#include "worker/simulated/profile.h"
#include "worker/simulated/simulated_model.h"

namespace quartet::worker_service {
namespace {

// A slow machine's speed, for the watchdog's first guess.
constexpr double kSlowFlopsPerSecond = 5e9;
constexpr double kMegabyte = 1 << 20;

absl::StatusOr<std::unique_ptr<device::Device>> NewCpuDevice(const WorkerOptions& options,
                                                             int num_threads) {
  device::CpuDeviceOptions cpu;
  cpu.num_threads = num_threads;
  cpu.instruction_set = options.instruction_set;
  return device::NewCpuDevice(cpu);
}

model::DecoderOptions DecoderOptionsOf(const WorkerOptions& options, const Shard& shard,
                                       int64_t num_kv_blocks) {
  model::DecoderOptions decoder;
  decoder.compute_dtype = options.compute_dtype;
  decoder.max_step_tokens = options.max_num_batched_tokens;
  decoder.max_logits_rows =
      options.max_num_seqs + engine::SchedulerOptions().max_prompt_logprob_rows;
  decoder.num_kv_blocks = num_kv_blocks;
  // Not what memory leaves of it: dynamic RoPE must be the same on all ranks.
  decoder.max_model_len = shard.wanted_model_len;
  return decoder;
}

// Peak resident memory of this process.
int64_t PeakRssBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

std::string Megabytes(int64_t bytes) {
  return absl::StrCat(static_cast<int64_t>(static_cast<double>(bytes) / kMegabyte + 0.5), " MB");
}

std::string NumericsId(const WorkerOptions& options, const Shard& shard) {
  std::string id =
      absl::StrCat(shard.device->numerics_id(),
                   options.compute_dtype == kernels::DType::kFloat32 ? "/float32" : "/bfloat16");
  if (shard.config.model.rope.type == model::RopeConfig::Type::kDynamic) {
    absl::StrAppend(&id, "/rope-dynamic-", shard.wanted_model_len);
  }
  return id;
}

// Of the simulated device: checks the profile and takes the rank's numbers from the configuration.
absl::Status OpenSimulatedShard(const WorkerOptions& options, Shard* shard) {
  if (options.sim_profile.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--sim_profile is missing: --device=simulated needs the hardware's profile, a "
                     "JSON file or one of ",
                     absl::StrJoin(simulated::ShippedProfiles(), ", ")));
  }
  const absl::StatusOr<simulated::Profile> profile = simulated::ReadProfile(options.sim_profile);
  if (!profile.ok()) {
    return absl::Status(profile.status().code(),
                        absl::StrCat("--sim_profile: ", profile.status().message()));
  }
  if (profile->num_gpus != options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--sim_profile=", options.sim_profile, " is of num_gpus = ", profile->num_gpus,
        ", but the group has ", options.world_size, " ranks; start it with --tensor_parallel_size=",
        profile->num_gpus, " or take another profile"));
  }
  const model::ModelConfig& config = shard->config.model;
  shard->step_time.emplace(*profile, config, shard->layout);
  shard->weights.weight_bytes = shard->step_time->weight_bytes();
  shard->weights.num_parameters = model::NumParameters(config);
  shard->weights.model_hash = model::ModelHash("no weights", config);
  shard->kv_block_bytes = shard->step_time->kv_bytes_per_token() * engine::kBlockTokens;
  const int64_t kv_bytes =
      options.kv_cache_bytes > 0
          ? options.kv_cache_bytes
          : static_cast<int64_t>(profile->memory_bytes) - shard->weights.weight_bytes;
  shard->max_kv_blocks = model::NumKvBlocksThatFit(kv_bytes, shard->kv_block_bytes);
  shard->lone_kv_blocks = shard->max_kv_blocks;
  shard->device_kind = "simulated";
  shard->numerics_id = "simulated-1";
  common::LogInfo("simulated device", {{"profile", options.sim_profile},
                                       {"description", profile->description},
                                       {"time_scale", options.sim_time_scale},
                                       {"kv_blocks", shard->max_kv_blocks}});
  return absl::OkStatus();
}

// Of a device that computes.
absl::Status OpenCheckpointOf(const WorkerOptions& options, Shard* shard) {
  if (!options.sim_profile.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--sim_profile=", options.sim_profile,
                                                   " has no meaning with --device=", options.device,
                                                   "; it needs --device=simulated"));
  }
  shard->device_kind = shard->device->kind();
  shard->numerics_id = NumericsId(options, *shard);
  ASSIGN_OR_RETURN(shard->checkpoint, model::OpenCheckpoint(options.model));
  return absl::OkStatus();
}

int64_t LocalRanks(const WorkerOptions& options) {
  return options.local_ranks > 0 ? options.local_ranks : options.world_size;
}

// How many blocks this rank's memory allows if `num_ranks` on this host want as much.
int64_t MaxKvBlocks(const WorkerOptions& options, const Shard& shard, int64_t num_ranks) {
  if (options.kv_cache_bytes > 0) {
    return model::NumKvBlocksThatFit(options.kv_cache_bytes, shard.kv_block_bytes);
  }
  const int64_t buffers = model::DecoderBuffersBytes(shard.config.model, shard.layout,
                                                     DecoderOptionsOf(options, shard, 0));
  const int64_t available = (shard.device->AvailableBytes() - buffers) / num_ranks;
  const int64_t one_sequence = engine::BlocksForTokens(shard.wanted_model_len);
  const int64_t half = model::NumKvBlocksThatFit(available / 2, shard.kv_block_bytes);
  const int64_t most = model::NumKvBlocksThatFit(available / 10 * 9, shard.kv_block_bytes);
  const int64_t useful = std::min(one_sequence * options.max_num_seqs, model::kMaxKvBlocks - 1);
  return std::min(useful, std::max(half, std::min(one_sequence, most)));
}

// Whether this many blocks are enough for the context that is insisted on, or for any.
absl::Status CheckModelLen(const WorkerOptions& options, const Shard& shard,
                           int64_t num_kv_blocks) {
  const int64_t wanted = shard.wanted_model_len;
  const int64_t held = num_kv_blocks * engine::kBlockTokens;
  if (held >= wanted || (options.max_model_len == 0 && held > 0)) return absl::OkStatus();
  const std::string message = absl::StrCat(
      "a context of ", wanted, " tokens needs a KV cache of ", engine::BlocksForTokens(wanted),
      " blocks of ", shard.kv_block_bytes,
      " bytes = ", Megabytes(engine::BlocksForTokens(wanted) * shard.kv_block_bytes),
      " on each rank, but ",
      options.kv_cache_bytes > 0
          ? absl::StrCat("--kv_cache_bytes=", options.kv_cache_bytes, " holds ", num_kv_blocks)
          : absl::StrCat("memory for ", num_kv_blocks, " is free (",
                         shard.step_time
                             ? "memory_gb * memory_utilization of the profile, less "
                               "the weights)"
                             : absl::StrCat(Megabytes(shard.device->AvailableBytes()), " for ",
                                            LocalRanks(options), " ranks and their buffers)")),
      "; lower --max_model_len or give more memory");
  // Free memory may be more at the next start; flags and profiles stay as they are.
  return options.kv_cache_bytes > 0 || shard.step_time ? absl::InvalidArgumentError(message)
                                                       : absl::ResourceExhaustedError(message);
}

}  // namespace

absl::StatusOr<Shard> OpenShard(const WorkerOptions& options) {
  if (options.device != "cpu" && options.device != "simulated") {
    return absl::InvalidArgumentError(absl::StrCat("--device=", options.device,
                                                   ": this build has no ", options.device,
                                                   " device; it has cpu and simulated"));
  }
  Shard shard;
  ASSIGN_OR_RETURN(shard.config, model::ReadModelConfig(options.model));
  model::ModelConfig& config = shard.config.model;
  if (!options.rope_scaling.empty()) {
    const absl::StatusOr<model::RopeConfig> rope =
        model::ParseRopeScaling(options.rope_scaling, config);
    if (!rope.ok()) {
      return absl::Status(rope.status().code(),
                          absl::StrCat("--rope_scaling: ", rope.status().message()));
    }
    config.rope = *rope;
  }
  const int64_t model_len = model::MaxModelLen(config);
  shard.wanted_model_len = options.max_model_len > 0 ? options.max_model_len : model_len;
  if (shard.wanted_model_len > model_len) {
    common::LogWarning("--max_model_len goes beyond what the model was made for",
                       {{"max_model_len", options.max_model_len}, {"model", model_len}});
  }
  ASSIGN_OR_RETURN(shard.layout, parallel::MakeShard(model::ShardedSizesOf(config), options.rank,
                                                     options.world_size));
  shard.num_threads =
      options.num_threads > 0
          ? options.num_threads
          : std::max(1, device::UsableCores() / static_cast<int>(LocalRanks(options)));
  const bool is_simulated = options.device == "simulated";
  if (is_simulated) shard.num_threads = 1;  // its time passes without computing
  ASSIGN_OR_RETURN(shard.device, NewCpuDevice(options, shard.num_threads));
  RETURN_IF_ERROR(is_simulated ? OpenSimulatedShard(options, &shard)
                               : OpenCheckpointOf(options, &shard));
  common::LogInfo("model opened", {{"path", options.model},
                                   {"name", config.name},
                                   {"architecture", model::ArchitectureName(config.architecture)},
                                   {"layers", config.num_layers},
                                   {"rope", model::RopeTypeName(config.rope.type)},
                                   {"numerics_id", shard.numerics_id},
                                   {"threads", shard.num_threads}});
  return shard;
}

absl::Status LoadShard(const WorkerOptions& options, Shard* shard) {
  if (shard->step_time) return CheckModelLen(options, *shard, shard->max_kv_blocks);
  const auto start = std::chrono::steady_clock::now();
  model::LoadOptions load;
  load.num_threads = shard->num_threads;
  ASSIGN_OR_RETURN(shard->weights, model::LoadWeights(*shard->checkpoint, shard->config.model,
                                                      shard->layout, *shard->device, load));
  shard->checkpoint.reset();
  shard->load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  shard->kv_block_bytes = model::KvBlockBytes(*shard->device, shard->config.model, shard->layout,
                                              options.compute_dtype);
  shard->max_kv_blocks = MaxKvBlocks(options, *shard, LocalRanks(options));
  shard->lone_kv_blocks = MaxKvBlocks(options, *shard, 1);
  // Fails now, with this rank's sums, where the group's minimum could only be worse. This rank may
  // come to others that hold their caches already.
  return CheckModelLen(options, *shard, std::max(shard->max_kv_blocks, shard->lone_kv_blocks));
}

absl::StatusOr<int64_t> ServedModelLen(const WorkerOptions& options, const Shard& shard,
                                       int64_t num_kv_blocks) {
  RETURN_IF_ERROR(CheckModelLen(options, shard, num_kv_blocks));
  const int64_t held = num_kv_blocks * engine::kBlockTokens;
  if (held >= shard.wanted_model_len) return shard.wanted_model_len;
  common::LogWarning(
      "the KV cache holds less than the model's context; serving a shorter one",
      {{"max_model_len", held}, {"model", shard.wanted_model_len}, {"kv_blocks", num_kv_blocks}});
  return held;
}

absl::StatusOr<std::unique_ptr<model::Model>> BuildModel(const WorkerOptions& options, Shard* shard,
                                                         int64_t num_kv_blocks,
                                                         parallel::Communicator& communicator) {
  const int64_t weight_bytes = shard->weights.weight_bytes;
  std::unique_ptr<model::Model> model;
  if (shard->step_time) {
    simulated::SimulatedModelOptions simulated;
    simulated.time_scale = options.sim_time_scale;
    simulated.num_kv_blocks = num_kv_blocks;
    ASSIGN_OR_RETURN(
        model, simulated::SimulatedModel::Create(shard->config.model, *shard->step_time, simulated,
                                                 *shard->device, communicator));
  } else {
    // The numbers of the weights are still wanted after they have moved.
    model::ModelWeights facts;
    facts.weight_bytes = weight_bytes;
    facts.num_parameters = shard->weights.num_parameters;
    facts.model_hash = shard->weights.model_hash;
    ASSIGN_OR_RETURN(
        model,
        model::Decoder::Create(shard->config.model, std::exchange(shard->weights, std::move(facts)),
                               shard->layout, *shard->device, communicator,
                               DecoderOptionsOf(options, *shard, num_kv_blocks)));
  }
  common::LogInfo("rank holds", {{"rank", options.rank},
                                 {"weight_bytes", weight_bytes},
                                 {"kv_cache_bytes", num_kv_blocks * shard->kv_block_bytes},
                                 {"kv_cache_tokens", num_kv_blocks * engine::kBlockTokens},
                                 {"vm_hwm_bytes", PeakRssBytes()}});
  return model;
}

absl::Status BuildOrRejoin(const WorkerOptions& options, Shard* shard, int64_t num_kv_blocks,
                           parallel::Communicator& communicator,
                           std::unique_ptr<model::Model>* model) {
  if (*model != nullptr) return (*model)->JoinGroup(communicator, num_kv_blocks);
  ASSIGN_OR_RETURN(*model, BuildModel(options, shard, num_kv_blocks, communicator));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<parallel::Communicator>> Connect(
    const WorkerOptions& options, const Shard& shard, const worker::v1::GroupFormed& formed,
    std::function<absl::Status()> check) {
  if (options.world_size == 1) return std::make_unique<parallel::SingleRankCommunicator>();
  parallel::SharedMemoryOptions shared;
  shared.name = formed.shared_memory_name();
  shared.epoch = formed.epoch();
  shared.rank = options.rank;
  shared.world_size = options.world_size;
  shared.slot_bytes = static_cast<int64_t>(formed.shared_memory_slot_bytes());
  // The watchdog comes first, knowing more; this is for the case that it can't.
  const engine::StepWatchdog watchdog(WatchdogOptions(options, shard));
  shared.call_timeout = 2 * watchdog.Limit(options.max_num_batched_tokens);
  shared.check = std::move(check);
  return parallel::SharedMemoryCommunicator::Connect(shared);
}

std::string SegmentPrefix(const std::string& address, int port) {
  std::string id = address;
  if (absl::StartsWith(id, "unix:")) {
    id = id.substr(5);
  } else {
    // Several hosts may see one folder of shared memory.
    char host[256] = {};
    gethostname(host, sizeof(host) - 1);
    absl::StrAppend(&id, "-", port, "-", host);
  }
  for (char& c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') c = '.';
  }
  // A name has at most 255 bytes.
  constexpr size_t kLongest = 200;
  if (id.size() > kLongest) id = id.substr(id.size() - kLongest);
  return absl::StrCat("/quartet-", id, ".");
}

engine::StepWatchdog::Options WatchdogOptions(const WorkerOptions& options, const Shard& shard) {
  engine::StepWatchdog::Options watchdog;
  watchdog.floor = options.step_timeout;
  watchdog.factor = options.step_timeout_factor;
  if (shard.step_time) {
    watchdog.seconds_per_token =
        options.sim_time_scale * shard.step_time->Seconds({1, 1, shard.wanted_model_len, 1});
    return watchdog;
  }
  watchdog.seconds_per_token = 2.0 * static_cast<double>(shard.weights.num_parameters) /
                               options.world_size / kSlowFlopsPerSecond;
  return watchdog;
}

worker::v1::RankReport ReportOf(const WorkerOptions& options, const Shard& shard,
                                int64_t num_kv_blocks) {
  worker::v1::RankReport report;
  report.set_rank(static_cast<uint32_t>(options.rank));
  report.set_pid(static_cast<uint32_t>(getpid()));
  report.set_weight_bytes(static_cast<uint64_t>(shard.weights.weight_bytes));
  report.set_kv_cache_bytes(static_cast<uint64_t>(num_kv_blocks * shard.kv_block_bytes));
  report.set_peak_rss_bytes(static_cast<uint64_t>(PeakRssBytes()));
  report.set_load_seconds(shard.load_seconds);
  return report;
}

}  // namespace quartet::worker_service
