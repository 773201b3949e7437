// Rank 0: loads its shard, forms the group, and serves gateways until it is told to stop.
#pragma once

#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "common/server_runner.h"
#include "worker/engine/engine.h"
#include "worker/engine_service.h"
#include "worker/group_service.h"
#include "worker/process_end.h"
#include "worker/worker_setup.h"

namespace quartet::worker_service {

class Leader {
 public:
  // `end` must outlive the leader.
  Leader(const WorkerOptions& options, ProcessEnd* end);
  ~Leader();

  // Returns OK after a stop. If a step hangs it ends the process, with exit code 1.
  absl::Status Run();

 private:
  absl::Status FormGroup();
  absl::Status StartEngine(const worker::v1::GroupFormed& formed, int64_t max_model_len);
  worker::v1::GetInfoResponse Info(const worker::v1::GroupFormed& formed, int64_t max_model_len,
                                   std::vector<worker::v1::RankReport> followers) const;
  void OnRankLost(const absl::Status& why);
  // Watches the steps until the process is to end.
  absl::Status Serve();
  [[noreturn]] void EndHungProcess(const absl::Status& why);

  const WorkerOptions options_;
  ProcessEnd* const end_;
  Shard shard_;
  GroupService group_;
  EngineService service_;

  std::mutex mutex_;  // guards the two pointers against OnRankLost, which another thread calls
  std::unique_ptr<parallel::Communicator> communicator_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<engine::StepWatchdog> watchdog_;
  std::unique_ptr<engine::Engine> engine_;

  std::unique_ptr<common::ServerRunner> server_;  // last: it ends before what it serves
};

}  // namespace quartet::worker_service
