#include "worker/leader.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/back_off.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/parallel/shared_memory_segment.h"
#include "worker/process_age.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

constexpr std::chrono::milliseconds kStopGrace(1000);
// From the group's forming until a rank has the memory that it needs.
constexpr absl::Duration kReadyTimeout = absl::Minutes(2);
constexpr int64_t kSlotBytes = int64_t{1} << 20;

engine::SchedulerOptions SchedulerOptionsOf(const WorkerOptions& options, int64_t num_kv_blocks,
                                            int64_t max_model_len) {
  engine::SchedulerOptions scheduler;
  scheduler.max_num_batched_tokens = options.max_num_batched_tokens;
  scheduler.max_num_seqs = options.max_num_seqs;
  scheduler.num_blocks = num_kv_blocks;
  scheduler.max_model_len = max_model_len;
  scheduler.enable_prefix_caching = options.enable_prefix_caching;
  if (options.itl_target > absl::ZeroDuration()) scheduler.step_budget.target = options.itl_target;
  return scheduler;
}

}  // namespace

Leader::Leader(const WorkerOptions& options, ProcessEnd* end)
    : options_(options),
      end_(end),
      members_(static_cast<uint32_t>(options.world_size),
               [this](uint64_t epoch, const absl::Status& why) { OnRankLost(epoch, why); }) {}

Leader::~Leader() {
  if (server_ != nullptr) server_->Shutdown(kStopGrace);
  // They call what comes after them here.
  vocabulary_.reset();
  grammars_.reset();
}

absl::Status Leader::Run() {
  ASSIGN_OR_RETURN(shard_, OpenShard(options_));
  PrepareGrammars();
  // Listening before loading lets followers join and probes see NOT_SERVING instead of nothing.
  common::ServerOptions server_options;
  server_options.address = options_.address;
  server_options.service_names = {worker::v1::Engine::service_full_name(),
                                  worker::v1::Group::service_full_name()};
  ASSIGN_OR_RETURN(server_, common::ServerRunner::Start(server_options, {&gateways_, &members_}));
  common::LogInfo("listening", {{"address", options_.address}, {"port", server_->port()}});
  if (!options_.metrics_address.empty()) {
    ASSIGN_OR_RETURN(metrics_,
                     WorkerMetrics::Serve(options_.metrics_address, shard_.config.model.name));
    common::LogInfo("metrics are served", {{"port", metrics_->port()}});
  }
  // The address is ours now, so whoever used these names is gone.
  segment_prefix_ = SegmentPrefix(options_.address, server_->port());
  parallel::RemoveLeftoverSegments(segment_prefix_);
  if (grammars_ != nullptr) {
    if (metrics_ != nullptr) metrics_->SetGrammars(grammars_.get());
    vocabulary_ =
        std::make_unique<VocabularyClient>(VocabularyClientOptions{options_.tokenizer_address},
                                           [this](absl::StatusOr<grammar::Vocabulary> vocabulary) {
                                             grammars_->SetVocabulary(std::move(vocabulary));
                                           });
  }
  RETURN_IF_ERROR(LoadShard(options_, &shard_));
  timeline_.emplace(ProcessAge(), engine::SteadyNow());
  const absl::Status status = ServeGroups();
  common::LogInfo("worker stopping", {{"why", status.ok() ? "told to stop" : status.message()}});
  gateways_.Close(
      absl::UnavailableError(status.ok() ? "the worker is stopping" : status.message()));
  members_.Close();
  server_->Shutdown(kStopGrace);
  return status;
}

void Leader::PrepareGrammars() {
  absl::Status why = grammar::CheckBackend();
  if (why.ok() && options_.tokenizer_address.empty()) {
    why = absl::FailedPreconditionError(
        "structured_output: this worker knows no tokenizer service; start it with "
        "--tokenizer_address");
  }
  if (!why.ok()) {
    common::LogInfo("no structured output", {{"why", why.message()}});
    gateways_.SetGrammars(nullptr, why);
    return;
  }
  grammar::GrammarCompilerOptions options;
  options.vocab_size = shard_.config.model.vocab_size;
  options.cache_bytes = static_cast<size_t>(options_.grammar_cache_bytes);
  options.max_format_bytes = static_cast<size_t>(options_.max_grammar_bytes);
  options.limits.time = options_.grammar_timeout;
  grammars_ = std::make_unique<grammar::GrammarCompiler>(options);
  // The metrics are served before the first gateway is.
  grammars_->SetTimer([this](absl::Duration time) {
    if (metrics_ != nullptr) metrics_->ObserveGrammar(time);
  });
  gateways_.SetGrammars(grammars_.get(), absl::OkStatus());
}

absl::Status Leader::ServeGroups() {
  // Short, because ranks that come back bring a pause of their own.
  common::BackOff back_off({std::chrono::milliseconds(50), std::chrono::milliseconds(500),
                            std::chrono::milliseconds(1000)});
  while (true) {
    const absl::Time start = engine::SteadyNow();
    const absl::Status status = RunGroup();
    end_->SetOrderly([] {});
    if (end_->has_come()) return absl::OkStatus();
    // What another rank has done wrong the next group may do right.
    if (!absl::IsUnavailable(status) && !absl::IsAborted(status)) return status;
    common::LogWarning("the group is over; the next one forms", {{"why", status.message()}});
    gateways_.Close(absl::UnavailableError(status.message()));
    members_.End(status);
    const auto pause = back_off.Next(absl::ToChronoMilliseconds(engine::SteadyNow() - start));
    if (end_->WaitFor(absl::FromChrono(pause))) return absl::OkStatus();
  }
}

absl::Status Leader::RunGroup() {
  // What waits for ranks returns then.
  end_->SetOrderly([this] { members_.Close(); });
  const GroupIdentity identity = {static_cast<uint32_t>(options_.world_size), common::kVersion,
                                  shard_.weights.model_hash, shard_.numerics_id};
  ASSIGN_OR_RETURN(const std::vector<JoinedRank> ranks,
                   members_.WaitForRanks(identity, Patience()));
  ASSIGN_OR_RETURN(const proto::GroupFormed formed, Agree(ranks));
  auto group = std::make_unique<LeaderGroup>(options_, shard_, &members_, &gateways_,
                                             metrics_.get(), end_, formed);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    group_ = group.get();
  }
  const absl::Status status = FormAndServe(formed, group.get());
  server_->SetServing(false);
  if (!status.ok()) {
    timeline_->OnLost(std::string(status.message()), group->LastSign(), engine::SteadyNow());
    group->Lose(status);
  }
  if (metrics_ != nullptr) metrics_->SetEngine(nullptr);
  const bool has_stopped = group->Stop();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    group_ = nullptr;
  }
  if (has_stopped) return status;
  // Threads hang for good, so nothing is torn down; this rank must load again.
  common::LogError("the running step can't be broken off: ending the process");
  gateways_.Close(absl::UnavailableError(status.message()));
  members_.Close();
  server_->Shutdown(kStopGrace);
  _exit(1);
}

// Weights that are loaded are worth waiting for.
absl::Duration Leader::Patience() const {
  return held_kv_blocks_ > 0 ? absl::InfiniteDuration() : options_.group_timeout;
}

// Survivors hold their caches already, and a rank that was started again finds only the memory that
// they leave: it is asked for the same number, not for its share.
int64_t Leader::AgreeOnKvBlocks(const std::vector<JoinedRank>& ranks) const {
  int64_t held = held_kv_blocks_ > 0 ? held_kv_blocks_ : std::numeric_limits<int64_t>::max();
  int64_t lone = held_kv_blocks_ > 0 ? held : shard_.lone_kv_blocks;
  int64_t share = shard_.max_kv_blocks;
  bool any_held = held_kv_blocks_ > 0;
  for (const JoinedRank& rank : ranks) {
    const proto::RankHello& hello = rank.hello;
    share = std::min<int64_t>(share, hello.max_kv_blocks());
    if (hello.held_kv_blocks() > 0) {
      any_held = true;
      held = std::min<int64_t>(held, hello.held_kv_blocks());
    } else {
      lone = std::min<int64_t>(lone, hello.lone_kv_blocks());
    }
  }
  return any_held ? std::min(held, lone) : share;
}

absl::StatusOr<proto::GroupFormed> Leader::Agree(const std::vector<JoinedRank>& ranks) {
  uint64_t epoch = std::max(static_cast<uint64_t>(absl::ToUnixNanos(absl::Now())), last_epoch_ + 1);
  for (const JoinedRank& rank : ranks) {
    // Epochs grow whatever the clock does.
    epoch = std::max(epoch, rank.hello.last_epoch() + 1);
    timeline_->OnJoined(rank.hello, rank.joined_at);
  }
  last_epoch_ = epoch;
  const int64_t num_kv_blocks = AgreeOnKvBlocks(ranks);
  if (held_kv_blocks_ > 0 && num_kv_blocks != held_kv_blocks_) {
    common::LogWarning("the KV cache changes its size",
                       {{"from_blocks", held_kv_blocks_}, {"to_blocks", num_kv_blocks}});
  }
  proto::GroupFormed formed;
  formed.set_epoch(epoch);
  formed.set_num_kv_blocks(static_cast<uint32_t>(num_kv_blocks));
  formed.set_shared_memory_name(absl::StrCat(segment_prefix_, epoch));
  formed.set_shared_memory_slot_bytes(kSlotBytes);
  return formed;
}

absl::Status Leader::FormAndServe(const proto::GroupFormed& formed, LeaderGroup* group) {
  const int64_t num_kv_blocks = formed.num_kv_blocks();
  ASSIGN_OR_RETURN(const int64_t max_model_len, ServedModelLen(options_, shard_, num_kv_blocks));
  const engine::SchedulerOptions scheduler =
      SchedulerOptionsOf(options_, num_kv_blocks, max_model_len);
  RETURN_IF_ERROR(engine::ValidateSchedulerOptions(scheduler));
  members_.Form(formed);
  RETURN_IF_ERROR(group->Connect());
  RETURN_IF_ERROR(BuildOrRejoin(options_, &shard_, num_kv_blocks, group->communicator(), &model_));
  held_kv_blocks_ = num_kv_blocks;
  auto followers = members_.WaitUntilReady(std::min(kReadyTimeout, options_.group_timeout));
  // A rank that hangs here may do better in the next group.
  if (absl::IsDeadlineExceeded(followers.status())) {
    return absl::UnavailableError(followers.status().message());
  }
  RETURN_IF_ERROR(followers.status());
  group->StartEngine(model_.get(), scheduler);
  end_->SetOrderly([group] { group->EndInOrder(); });
  BeginServing(formed, max_model_len, *std::move(followers), group);
  return group->Watch();
}

void Leader::BeginServing(const proto::GroupFormed& formed, int64_t max_model_len,
                          std::vector<proto::RankReport> followers, LeaderGroup* group) {
  const auto report =
      timeline_->OnServing(static_cast<uint32_t>(options_.world_size), engine::SteadyNow());
  if (report.has_value()) recovery_ = *report;
  if (metrics_ != nullptr) {
    if (report.has_value()) metrics_->ObserveRecovery(*report);
    metrics_->SetEngine(group->engine());
  }
  gateways_.Open(group->engine(),
                 [info = Info(formed, max_model_len, std::move(followers))] { return info; });
  server_->SetServing(true);
  common::LogInfo("worker group serves", {{"world_size", options_.world_size},
                                          {"epoch", formed.epoch()},
                                          {"max_model_len", max_model_len},
                                          {"kv_blocks", formed.num_kv_blocks()}});
  if (report.has_value()) LogRecovery();
}

void Leader::LogRecovery() {
  common::LogInfo("group recovered", {{"count", recovery_.count()},
                                      {"survivors", recovery_.survivors()},
                                      {"noticed_ms", recovery_.noticed_ms()},
                                      {"restarted_ms", recovery_.restarted_ms()},
                                      {"loaded_ms", recovery_.loaded_ms()},
                                      {"formed_ms", recovery_.formed_ms()},
                                      {"why", recovery_.reason()}});
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
  *info.mutable_recovery() = recovery_;
  if (metrics_ != nullptr) info.set_metrics_port(static_cast<uint32_t>(metrics_->port()));
  return info;
}

void Leader::OnRankLost(uint64_t epoch, const absl::Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (group_ != nullptr && group_->epoch() == epoch) group_->Lose(why);
}

}  // namespace quartet::worker_service
