// Rank 0: loads its shard once, then forms one group after the other with the ranks that are there,
// and serves gateways while a group stands, until it is told to stop.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "common/server_runner.h"
#include "worker/engine_service.h"
#include "worker/grammar/grammar_compiler.h"
#include "worker/group_service.h"
#include "worker/leader_group.h"
#include "worker/process_end.h"
#include "worker/recovery_timeline.h"
#include "worker/vocabulary_client.h"
#include "worker/worker_metrics.h"
#include "worker/worker_setup.h"

namespace quartet::worker_service {

class Leader {
 public:
  // `end` must outlive the leader.
  Leader(const WorkerOptions& options, ProcessEnd* end);
  ~Leader();

  // Returns OK after a stop, and an error if this rank can't go on. If a thread hangs for good it
  // ends the process, with exit code 1.
  absl::Status Run();

 private:
  // Begins to get ready for grammars.
  void PrepareGrammars();
  absl::Status ServeGroups();
  // One group from the first rank that joins to its end.
  absl::Status RunGroup();
  absl::Duration Patience() const;
  absl::StatusOr<worker::v1::GroupFormed> Agree(const std::vector<JoinedRank>& ranks);
  int64_t AgreeOnKvBlocks(const std::vector<JoinedRank>& ranks) const;
  absl::Status FormAndServe(const worker::v1::GroupFormed& formed, LeaderGroup* group);
  void BeginServing(const worker::v1::GroupFormed& formed, int64_t max_model_len,
                    std::vector<worker::v1::RankReport> followers, LeaderGroup* group);
  void LogRecovery();
  worker::v1::GetInfoResponse Info(const worker::v1::GroupFormed& formed, int64_t max_model_len,
                                   std::vector<worker::v1::RankReport> followers) const;
  void OnRankLost(uint64_t epoch, const absl::Status& why);

  const WorkerOptions options_;
  ProcessEnd* const end_;
  Shard shard_;
  GroupService members_;
  std::unique_ptr<grammar::GrammarCompiler> grammars_;  // null: not possible
  EngineService gateways_;
  std::unique_ptr<WorkerMetrics> metrics_;  // null: not wanted
  std::unique_ptr<VocabularyClient> vocabulary_;
  std::string segment_prefix_;
  std::unique_ptr<model::Model> model_;
  int64_t held_kv_blocks_ = 0;  // of model_
  uint64_t last_epoch_ = 0;
  std::optional<RecoveryTimeline> timeline_;
  worker::v1::RecoveryReport recovery_;  // the last one's

  std::mutex mutex_;
  LeaderGroup* group_ = nullptr;  // guarded by mutex_; the one that stands or forms

  std::unique_ptr<common::ServerRunner> server_;  // last: it ends before what it serves
};

}  // namespace quartet::worker_service
