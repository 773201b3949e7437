#include "worker/leader_group.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/engine/idle_probe.h"

namespace quartet::worker_service {
namespace {

// How long a step that is broken off may take to notice it.
constexpr absl::Duration kBreakOffGrace = absl::Seconds(5);
constexpr absl::Duration kWatchInterval = absl::Seconds(1);

}  // namespace

LeaderGroup::LeaderGroup(const WorkerOptions& options, const Shard& shard, GroupService* members,
                         EngineService* gateways, WorkerMetrics* metrics, ProcessEnd* end,
                         const worker::v1::GroupFormed& formed)
    : options_(options),
      shard_(shard),
      members_(members),
      gateways_(gateways),
      metrics_(metrics),
      end_(end),
      formed_(formed),
      watchdog_(WatchdogOptions(options, shard)) {}

LeaderGroup::~LeaderGroup() {
  if (engine_ != nullptr) engine_->Stop();
}

absl::Status LeaderGroup::lost() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return lost_;
  }
  // The service knows of a loss a moment before it tells.
  return members_->lost();
}

absl::Status LeaderGroup::Connect() {
  ASSIGN_OR_RETURN(auto communicator, worker_service::Connect(options_, shard_, formed_, [this] {
                     return end_->has_come() ? absl::CancelledError("the worker is stopping")
                                             : lost();
                   }));
  std::lock_guard<std::mutex> lock(mutex_);
  communicator_ = std::move(communicator);
  return lost_;
}

void LeaderGroup::StartEngine(model::Model* model, const engine::SchedulerOptions& scheduler) {
  engine::EngineOptions options;
  options.scheduler = scheduler;
  options.max_waiting = options_.max_waiting;
  options.max_waiting_tokens = options_.max_waiting_tokens;
  options.vocab_size = shard_.config.model.vocab_size;
  options.eos_token_ids = shard_.config.model.eos_token_ids;
  options.epoch = formed_.epoch();
  engine::EngineCallbacks callbacks;
  callbacks.on_events = [this](uint64_t client_id, uint64_t step,
                               std::vector<engine::SequenceEvent> events) {
    gateways_->Deliver(client_id, step, std::move(events));
  };
  if (options_.world_size > 1) {
    callbacks.broadcast = [this](const engine::StepPlan& plan) {
      return members_->Broadcast(plan);
    };
  }
  if (metrics_ != nullptr) {
    callbacks.on_step = [this](const engine::StepTimes& times) { metrics_->ObserveStep(times); };
  }
  callbacks.on_failure = [this](const absl::Status& why) { OnEngineFailure(why); };
  std::lock_guard<std::mutex> lock(mutex_);
  engine_ = std::make_shared<engine::Engine>(options, model, &watchdog_, std::move(callbacks));
  if (!lost_.ok()) engine_->Fail(lost_);
  engine_->Start();
}

void LeaderGroup::OnEngineFailure(const absl::Status& why) {
  // A stream that ends tells a gateway that the group is gone and its sequences may go on
  // elsewhere or later; an error of a sequence would be that sequence's last word.
  gateways_->Close(absl::UnavailableError(why.message()));
  const absl::Status other = lost();
  ended_.Come(other.ok() ? absl::InternalError(why.message()) : other);
}

void LeaderGroup::Lose(const absl::Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (lost_.ok()) lost_ = why;
  // First the reason, then what makes the running step end.
  if (engine_ != nullptr) engine_->Fail(why);
  if (communicator_ != nullptr) communicator_->Abort();
}

std::string LeaderGroup::DescribeWait() {
  const int rank = communicator_->waiting_for();
  return absl::StrCat(rank >= 0 ? absl::StrCat("the leader waits for rank ", rank)
                                : "the leader waits for no other rank",
                      "; ", members_->DescribeProgress());
}

absl::Status LeaderGroup::Watch() {
  engine::IdleProbe probe(options_.idle_probe_interval, options_.step_timeout, engine::SteadyNow());
  while (!ended_.WaitFor(kWatchInterval)) {
    end_->loop().Turned();
    const absl::Time now = engine::SteadyNow();
    absl::Status status = watchdog_.Check(now);
    if (status.ok()) {
      status = probe.Tick(watchdog_.LastSign(), now, [this] { engine_->Probe(); });
    }
    if (status.ok()) continue;
    const absl::Status why =
        absl::UnavailableError(absl::StrCat(status.message(), "; ", DescribeWait()));
    common::LogError("step watchdog", {{"why", why.message()}});
    end_->loop().Rest();
    return why;
  }
  end_->loop().Rest();
  return ended_.how();
}

bool LeaderGroup::Stop() {
  if (engine_ == nullptr) return true;
  if (!ended_.WaitFor(kBreakOffGrace)) return false;
  engine_->Stop();
  return true;
}

}  // namespace quartet::worker_service
