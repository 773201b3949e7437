#include "worker/leader.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

constexpr std::chrono::milliseconds kStopGrace(1000);
constexpr int64_t kSlotBytes = int64_t{1} << 20;
// How long a hung step may take to notice that it is to end.
constexpr absl::Duration kHungGrace = absl::Seconds(5);

engine::SchedulerOptions SchedulerOptionsOf(const WorkerOptions& options, int64_t num_kv_blocks,
                                            int64_t max_model_len) {
  engine::SchedulerOptions scheduler;
  scheduler.max_num_batched_tokens = options.max_num_batched_tokens;
  scheduler.max_num_seqs = options.max_num_seqs;
  scheduler.num_blocks = num_kv_blocks;
  scheduler.max_model_len = max_model_len;
  return scheduler;
}

}  // namespace

Leader::Leader(const WorkerOptions& options, ProcessEnd* end)
    : options_(options),
      end_(end),
      group_(static_cast<uint32_t>(options.world_size),
             [this](const absl::Status& why) { OnRankLost(why); }) {}

Leader::~Leader() {
  if (server_ != nullptr) server_->Shutdown(kStopGrace);
}

absl::Status Leader::Run() {
  ASSIGN_OR_RETURN(shard_, OpenShard(options_));
  // Listening before loading lets followers join and probes see NOT_SERVING instead of nothing.
  common::ServerOptions server_options;
  server_options.address = options_.address;
  server_options.service_names = {worker::v1::Engine::service_full_name(),
                                  worker::v1::Group::service_full_name()};
  ASSIGN_OR_RETURN(server_, common::ServerRunner::Start(server_options, {&service_, &group_}));
  common::LogInfo("listening", {{"address", options_.address}, {"port", server_->port()}});
  RETURN_IF_ERROR(LoadShard(options_, &shard_));
  absl::Status status = FormGroup();
  if (status.ok()) status = Serve();
  server_->SetServing(false);
  if (engine_ != nullptr) engine_->Stop();
  service_.Close(status.ok() ? absl::UnavailableError("the worker is stopping") : status);
  group_.Close();
  server_->Shutdown(kStopGrace);
  return status;
}

absl::Status Leader::FormGroup() {
  const GroupIdentity identity = {static_cast<uint32_t>(options_.world_size), common::kVersion,
                                  shard_.weights.model_hash, shard_.numerics_id};
  ASSIGN_OR_RETURN(const std::vector<proto::RankHello> hellos,
                   group_.WaitForRanks(identity, options_.group_timeout));
  int64_t num_kv_blocks = shard_.max_kv_blocks;
  for (const proto::RankHello& hello : hellos) {
    num_kv_blocks = std::min<int64_t>(num_kv_blocks, hello.max_kv_blocks());
  }
  ASSIGN_OR_RETURN(const int64_t max_model_len, ServedModelLen(options_, shard_, num_kv_blocks));
  RETURN_IF_ERROR(
      engine::ValidateSchedulerOptions(SchedulerOptionsOf(options_, num_kv_blocks, max_model_len)));

  proto::GroupFormed formed;
  formed.set_epoch(static_cast<uint64_t>(absl::ToUnixNanos(absl::Now())));
  formed.set_num_kv_blocks(static_cast<uint32_t>(num_kv_blocks));
  formed.set_shared_memory_name(absl::StrCat("/quartet-", getpid(), "-", formed.epoch()));
  formed.set_shared_memory_slot_bytes(kSlotBytes);
  group_.Form(formed);
  ASSIGN_OR_RETURN(auto communicator,
                   Connect(options_, formed.shared_memory_name(), formed.epoch(), kSlotBytes));
  {
    std::lock_guard<std::mutex> lock(mutex_);
    communicator_ = std::move(communicator);
  }
  watchdog_ = std::make_unique<engine::StepWatchdog>(WatchdogOptions(options_, shard_));
  ASSIGN_OR_RETURN(model_, BuildModel(options_, &shard_, num_kv_blocks, *communicator_));
  return StartEngine(formed, max_model_len);
}

absl::Status Leader::StartEngine(const proto::GroupFormed& formed, int64_t max_model_len) {
  ASSIGN_OR_RETURN(const std::vector<proto::RankReport> followers,
                   group_.WaitUntilReady(options_.group_timeout));
  engine::EngineOptions engine_options;
  engine_options.scheduler = SchedulerOptionsOf(options_, formed.num_kv_blocks(), max_model_len);
  engine_options.max_waiting = options_.max_waiting;
  engine_options.vocab_size = shard_.config.model.vocab_size;
  engine_options.eos_token_ids = shard_.config.model.eos_token_ids;
  engine_options.epoch = formed.epoch();
  engine::EngineCallbacks callbacks;
  callbacks.on_events = [this](uint64_t client_id, uint64_t step,
                               std::vector<engine::SequenceEvent> events) {
    service_.Deliver(client_id, step, std::move(events));
  };
  if (options_.world_size > 1) {
    callbacks.broadcast = [this](const engine::StepPlan& plan) { return group_.Broadcast(plan); };
  }
  callbacks.on_failure = [this](const absl::Status& why) {
    // A stream that ends tells a gateway that the group is gone and its sequences may go on
    // elsewhere; an error of a sequence would be that sequence's last word.
    service_.Close(why);
    end_->Fail(why);
  };
  {
    std::lock_guard<std::mutex> lock(mutex_);
    engine_ = std::make_unique<engine::Engine>(engine_options, model_.get(), watchdog_.get(),
                                               std::move(callbacks));
  }
  end_->SetOrderly(true);
  engine_->Start();
  service_.Open(engine_.get(), [this, formed, max_model_len, followers] {
    return Info(formed, max_model_len, followers);
  });
  server_->SetServing(true);
  common::LogInfo("worker group serves", {{"world_size", options_.world_size},
                                          {"epoch", formed.epoch()},
                                          {"max_model_len", max_model_len},
                                          {"kv_blocks", formed.num_kv_blocks()}});
  return absl::OkStatus();
}

proto::GetInfoResponse Leader::Info(const proto::GroupFormed& formed, int64_t max_model_len,
                                    std::vector<proto::RankReport> followers) const {
  const model::ModelConfig& config = shard_.config.model;
  proto::GetInfoResponse info;
  info.set_protocol_version(kProtocolVersion);
  info.set_build(common::kVersion);
  info.set_model_hash(shard_.weights.model_hash);
  info.set_numerics_id(shard_.numerics_id);
  info.set_device(shard_.device_kind);
  info.set_world_size(static_cast<uint32_t>(options_.world_size));
  info.set_epoch(formed.epoch());
  info.set_max_model_len(static_cast<uint32_t>(max_model_len));
  info.set_vocab_size(static_cast<uint32_t>(config.vocab_size));
  info.set_architecture(std::string(model::ArchitectureName(config.architecture)));
  info.set_num_parameters(static_cast<uint64_t>(shard_.weights.num_parameters));
  info.mutable_eos_token_ids()->Add(config.eos_token_ids.begin(), config.eos_token_ids.end());
  *info.mutable_default_sampling() = ToProto(shard_.config.generation);
  info.set_num_kv_blocks(formed.num_kv_blocks());
  info.set_kv_block_tokens(static_cast<uint32_t>(engine::kBlockTokens));
  *info.add_ranks() = ReportOf(options_, shard_, formed.num_kv_blocks());
  for (proto::RankReport& report : followers) *info.add_ranks() = std::move(report);
  info.set_model_name(config.name);
  return info;
}

void Leader::OnRankLost(const absl::Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  // First the reason, then what makes the running step end.
  if (engine_ != nullptr) engine_->Fail(why);
  if (communicator_ != nullptr) communicator_->Abort();
}

absl::Status Leader::Serve() {
  while (!end_->WaitFor(absl::Seconds(1))) {
    const absl::Status status = watchdog_->Check(engine::SteadyNow());
    if (!status.ok()) EndHungProcess(status);
  }
  const absl::Status status = end_->status();
  common::LogInfo("worker stopping", {{"why", status.ok() ? "told to stop" : status.message()}});
  return status;
}

void Leader::EndHungProcess(const absl::Status& why) {
  server_->SetServing(false);
  const absl::Status reason = absl::UnavailableError(
      absl::StrCat(why.message(), "; the engine hangs; ", group_.DescribeProgress()));
  common::LogError("step watchdog", {{"why", reason.message()}});
  engine_->Fail(reason);
  communicator_->Abort();
  end_->WaitFor(kHungGrace);
  service_.Close(reason);
  group_.Close();
  server_->Shutdown(kStopGrace);
  // Threads may hang for good, so nothing is torn down.
  _exit(1);
}

}  // namespace quartet::worker_service
