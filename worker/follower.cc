#include "worker/follower.h"

#include <unistd.h>

#include <memory>
#include <thread>
#include <utility>

#include "common/logging.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/engine/follower.h"
#include "worker/group_member.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

// A stop reaches all ranks at once; the leader gets this long to end its step and the group.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
constexpr absl::Duration kHungGrace = absl::Seconds(5);

proto::RankHello HelloOf(const WorkerOptions& options, const Shard& shard) {
  proto::RankHello hello;
  hello.set_rank(static_cast<uint32_t>(options.rank));
  hello.set_world_size(static_cast<uint32_t>(options.world_size));
  hello.set_build(common::kVersion);
  hello.set_model_hash(shard.weights.model_hash);
  hello.set_numerics_id(shard.numerics_id);
  hello.set_max_kv_blocks(static_cast<uint32_t>(shard.max_kv_blocks));
  hello.set_kv_block_bytes(static_cast<uint64_t>(shard.kv_block_bytes));
  *hello.mutable_report() = ReportOf(options, shard, 0);
  return hello;
}

// Waits until the steps' thread says how it ended, or ends the process if a step hangs.
absl::Status Watch(const engine::StepWatchdog& watchdog, ProcessEnd* stop, ProcessEnd* steps) {
  while (!steps->WaitFor(absl::Seconds(1))) {
    const absl::Status hung = watchdog.Check(engine::SteadyNow());
    if (!hung.ok()) {
      common::LogError("step watchdog", {{"why", hung.message()}});
      _exit(1);
    }
    if (!stop->WaitFor(absl::ZeroDuration())) continue;
    if (!steps->WaitFor(kStopGrace)) return absl::OkStatus();
  }
  return steps->status();
}

}  // namespace

absl::Status RunFollowerProcess(const WorkerOptions& options, ProcessEnd* end) {
  ASSIGN_OR_RETURN(Shard shard, OpenShard(options));
  RETURN_IF_ERROR(LoadShard(options, &shard));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<GroupMember> member,
      GroupMember::Join(options.leader_address, HelloOf(options, shard), options.group_timeout));
  ASSIGN_OR_RETURN(const proto::GroupFormed formed, member->WaitForGroup(options.group_timeout));
  ASSIGN_OR_RETURN(const std::unique_ptr<parallel::Communicator> communicator,
                   Connect(options, formed.shared_memory_name(), formed.epoch(),
                           static_cast<int64_t>(formed.shared_memory_slot_bytes())));
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Model> model,
                   BuildModel(options, &shard, formed.num_kv_blocks(), *communicator));
  engine::StepWatchdog watchdog(WatchdogOptions(options, shard));
  end->SetOrderly(true);
  member->Ready(ReportOf(options, shard, formed.num_kv_blocks()),
                [&communicator] { communicator->Abort(); });
  common::LogInfo("rank is ready", {{"rank", options.rank}, {"epoch", formed.epoch()}});

  ProcessEnd steps;
  const engine::StepLimits limits = {shard.config.model.vocab_size, formed.num_kv_blocks(),
                                     options.max_num_seqs, options.max_num_batched_tokens};
  std::thread thread([&] {
    absl::Status status =
        engine::RunFollower(limits, formed.epoch(), model.get(), &watchdog, member.get());
    // What ended the stream says more than a step that was broken off by it.
    if (absl::IsAborted(status)) status = member->end(status);
    if (absl::IsCancelled(status)) status = absl::OkStatus();
    steps.Fail(status);
  });
  const absl::Status status = Watch(watchdog, end, &steps);
  common::LogInfo("rank stopping", {{"rank", options.rank},
                                    {"why", status.ok() ? "told to stop" : status.message()}});
  // Frees the thread wherever it waits.
  member->Leave();
  communicator->Abort();
  if (!steps.WaitFor(kHungGrace)) _exit(status.ok() ? 0 : 1);
  thread.join();
  return status;
}

}  // namespace quartet::worker_service
