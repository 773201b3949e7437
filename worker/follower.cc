#include "worker/follower.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/back_off.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/engine/follower.h"
#include "worker/group_member.h"
#include "worker/process_age.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

// A stop reaches all ranks at once; the leader gets this long to end its step and the group.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// How long a step that is broken off may take to notice it.
constexpr absl::Duration kBreakOffGrace = absl::Seconds(5);
constexpr absl::Duration kWatchInterval = absl::Seconds(1);

// What only another start can mend; everything else the next group may bring.
bool IsFinal(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsAborted(status) && !absl::IsCancelled(status) &&
         !absl::IsAlreadyExists(status);
}

// Loads once, then belongs to one group after the other.
class Follower {
 public:
  Follower(const WorkerOptions& options, ProcessEnd* end) : options_(options), end_(end) {}

  absl::Status Run();

 private:
  proto::RankHello Hello() const;
  // For as long as this rank has never belonged to a group; then it has weights to keep.
  absl::Duration Patience() const;
  // One group, from joining to its end. Returns why it ended.
  absl::Status RunGroup();
  absl::Status RunSteps(const proto::GroupFormed& formed, parallel::Communicator* communicator,
                        GroupMember* member);
  absl::Status Watch(const engine::StepWatchdog& watchdog,
                     const parallel::Communicator& communicator, Ending* steps);

  const WorkerOptions& options_;
  ProcessEnd* const end_;
  Shard shard_;
  std::unique_ptr<model::Model> model_;
  int64_t held_kv_blocks_ = 0;  // of model_
  uint64_t last_epoch_ = 0;     // 0: it has never belonged to a group
  absl::Time first_deadline_;
  absl::Time lost_at_;  // when the last group ended
  absl::Duration noticed_after_;
};

proto::RankHello Follower::Hello() const {
  proto::RankHello hello;
  hello.set_rank(static_cast<uint32_t>(options_.rank));
  hello.set_world_size(static_cast<uint32_t>(options_.world_size));
  hello.set_build(common::kVersion);
  hello.set_model_hash(shard_.weights.model_hash);
  hello.set_numerics_id(shard_.numerics_id);
  hello.set_max_kv_blocks(static_cast<uint32_t>(shard_.max_kv_blocks));
  hello.set_lone_kv_blocks(static_cast<uint32_t>(shard_.lone_kv_blocks));
  hello.set_held_kv_blocks(static_cast<uint32_t>(held_kv_blocks_));
  hello.set_kv_block_bytes(static_cast<uint64_t>(shard_.kv_block_bytes));
  *hello.mutable_report() = ReportOf(options_, shard_, held_kv_blocks_);
  hello.set_process_age_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(ProcessAge())));
  if (last_epoch_ == 0) return hello;
  hello.set_last_epoch(last_epoch_);
  hello.set_lost_for_ms(
      static_cast<uint64_t>(absl::ToInt64Milliseconds(engine::SteadyNow() - lost_at_)));
  hello.set_noticed_after_ms(
      static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Milliseconds(noticed_after_))));
  return hello;
}

absl::Duration Follower::Patience() const {
  if (last_epoch_ != 0) return absl::InfiniteDuration();
  return std::max(absl::ZeroDuration(), first_deadline_ - engine::SteadyNow());
}

absl::Status Follower::Run() {
  ASSIGN_OR_RETURN(shard_, OpenShard(options_));
  RETURN_IF_ERROR(LoadShard(options_, &shard_));
  first_deadline_ = engine::SteadyNow() + options_.group_timeout;
  common::BackOff back_off({std::chrono::milliseconds(50), std::chrono::milliseconds(500),
                            std::chrono::milliseconds(1000)});
  while (true) {
    const absl::Time start = engine::SteadyNow();
    const absl::Status status = RunGroup();
    if (end_->has_come()) return absl::OkStatus();
    if (IsFinal(status)) {
      // A survivor that doesn't fit any more has to load again, perhaps something else.
      return last_epoch_ == 0 ? status : absl::InternalError(status.message());
    }
    common::LogWarning("joining again; the weights stay",
                       {{"rank", options_.rank}, {"why", status.message()}});
    const auto pause = back_off.Next(absl::ToChronoMilliseconds(engine::SteadyNow() - start));
    std::this_thread::sleep_for(pause);
  }
}

absl::Status Follower::RunGroup() {
  // Outlives the member, whose end aborts it.
  std::unique_ptr<parallel::Communicator> communicator;
  ASSIGN_OR_RETURN(const std::unique_ptr<GroupMember> member,
                   GroupMember::Join(
                       options_.leader_address, [this] { return Hello(); }, Patience()));
  ASSIGN_OR_RETURN(const proto::GroupFormed formed, member->WaitForGroup(Patience()));
  ASSIGN_OR_RETURN(communicator,
                   Connect(options_, shard_, formed, [&member] { return member->end(); }));
  RETURN_IF_ERROR(BuildOrRejoin(options_, &shard_, formed.num_kv_blocks(), *communicator, &model_));
  held_kv_blocks_ = formed.num_kv_blocks();
  last_epoch_ = formed.epoch();
  return RunSteps(formed, communicator.get(), member.get());
}

absl::Status Follower::RunSteps(const proto::GroupFormed& formed,
                                parallel::Communicator* communicator, GroupMember* member) {
  engine::StepWatchdog watchdog(WatchdogOptions(options_, shard_));
  end_->SetOrderly([] {});  // Watch sees it
  member->Ready(ReportOf(options_, shard_, held_kv_blocks_),
                [communicator] { communicator->Abort(); });
  common::LogInfo("rank is ready", {{"rank", options_.rank}, {"epoch", formed.epoch()}});

  Ending steps;
  const engine::StepLimits limits = {shard_.config.model.vocab_size, formed.num_kv_blocks(),
                                     options_.max_num_seqs, options_.max_num_batched_tokens};
  std::thread thread([&] {
    const absl::Status status =
        engine::RunFollower(limits, formed.epoch(), model_.get(), &watchdog, member);
    // What ended the stream says more than a step that was broken off by it.
    steps.Come(absl::IsAborted(status) ? member->end(status) : status);
  });
  const absl::Status status = Watch(watchdog, *communicator, &steps);
  lost_at_ = engine::SteadyNow();
  const absl::Time sign = watchdog.LastSign();
  noticed_after_ = sign == absl::InfinitePast() ? absl::ZeroDuration() : lost_at_ - sign;
  // Frees the thread wherever it waits.
  member->Leave();
  communicator->Abort();
  if (!steps.WaitFor(kBreakOffGrace)) {
    common::LogError("the running step can't be broken off: ending the process");
    _exit(end_->has_come() ? 0 : 1);
  }
  thread.join();
  end_->SetOrderly(nullptr);
  return status;
}

// Waits until the steps' thread says how it ended, a step takes too long, or a stop has come and
// the leader has had its time to end the group.
absl::Status Follower::Watch(const engine::StepWatchdog& watchdog,
                             const parallel::Communicator& communicator, Ending* steps) {
  absl::Status status;
  while (!steps->WaitFor(kWatchInterval)) {
    end_->loop().Turned();
    const absl::Status hung = watchdog.Check(engine::SteadyNow());
    if (!hung.ok()) {
      const int rank = communicator.waiting_for();
      status = absl::UnavailableError(
          absl::StrCat(hung.message(), "; rank ", options_.rank, " waits for ",
                       rank >= 0 ? absl::StrCat("rank ", rank) : "no other rank"));
      common::LogError("step watchdog", {{"why", status.message()}});
      break;
    }
    if (!end_->has_come()) continue;
    steps->WaitFor(kStopGrace);
    break;
  }
  end_->loop().Rest();
  return status.ok() ? steps->how() : status;
}

}  // namespace

absl::Status RunFollowerProcess(const WorkerOptions& options, ProcessEnd* end) {
  const absl::Status status = Follower(options, end).Run();
  common::LogInfo("rank stopping", {{"rank", options.rank},
                                    {"why", status.ok() ? "told to stop" : status.message()}});
  return status;
}

}  // namespace quartet::worker_service
