// One epoch of the leader: what it has only as long as a group stays together. The weights, the
// listening server and the gateways' face outlive it.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/engine.h"
#include "worker/engine_service.h"
#include "worker/group_service.h"
#include "worker/process_end.h"
#include "worker/worker_metrics.h"
#include "worker/worker_setup.h"

namespace quartet::worker_service {

// Connect, StartEngine, Watch and Stop: one thread, in this order. Lose and EndInOrder: any thread.
class LeaderGroup {
 public:
  // All must outlive the group; `metrics` may be null.
  LeaderGroup(const WorkerOptions& options, const Shard& shard, GroupService* members,
              EngineService* gateways, WorkerMetrics* metrics, ProcessEnd* end,
              const worker::v1::GroupFormed& formed);
  ~LeaderGroup();

  uint64_t epoch() const { return formed_.epoch(); }

  // Meets the other ranks in shared memory. UNAVAILABLE if one doesn't come or is lost.
  absl::Status Connect();
  parallel::Communicator& communicator() { return *communicator_; }
  // Runs `model` (which must outlive the group) from now on.
  void StartEngine(model::Model* model, const engine::SchedulerOptions& scheduler);
  std::shared_ptr<engine::Engine> engine() { return engine_; }

  // A rank is gone: whatever runs or waits here ends with `why`.
  void Lose(const absl::Status& why);
  // The process is to stop: Watch returns OK.
  void EndInOrder() { ended_.Come(absl::OkStatus()); }
  // Watches the steps, and asks for a sign of life when there are none, until the group ends.
  // Returns OK after EndInOrder, UNAVAILABLE if another rank was lost or hangs: then the group can
  // form anew. INTERNAL if this rank's own part failed.
  absl::Status Watch();
  // Ends the engine after the step that runs. False if a thread of it hangs for good: then this
  // object must not be destroyed.
  bool Stop();
  // When steps last went on.
  absl::Time LastSign() const { return watchdog_.LastSign(); }

 private:
  void OnEngineFailure(const absl::Status& why);
  absl::Status lost();
  std::string DescribeWait();

  const WorkerOptions& options_;
  const Shard& shard_;
  GroupService* const members_;
  EngineService* const gateways_;
  WorkerMetrics* const metrics_;
  ProcessEnd* const end_;
  const worker::v1::GroupFormed formed_;
  engine::StepWatchdog watchdog_;
  Ending ended_;

  std::mutex mutex_;   // guards the two pointers while they are set, and lost_
  absl::Status lost_;  // the first reason
  std::unique_ptr<parallel::Communicator> communicator_;
  std::shared_ptr<engine::Engine> engine_;  // shared with the gateways' streams
};

}  // namespace quartet::worker_service
