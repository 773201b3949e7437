// When what happened while a group that had lost a rank came back. Pure bookkeeping: the leader
// tells it what it sees.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "quartet/worker/v1/group.pb.h"
#include "quartet/worker/v1/worker.pb.h"

namespace quartet::worker_service {

// Times are of one steady clock. Not thread-safe.
class RecoveryTimeline {
 public:
  // `own_age`: of the leader's process, which has loaded its weights at `now`.
  RecoveryTimeline(absl::Duration own_age, absl::Time now);

  // The group can't go on. Of several losses before the group serves again the first counts.
  void OnLost(const std::string& reason, absl::Time last_sign_of_life, absl::Time now);
  // A rank that comes from an older group speaks of a loss that this leader did not see because it
  // was started after it.
  void OnJoined(const worker::v1::RankHello& hello, absl::Time joined_at);
  // The group serves. Returns the report if this was a recovery, with all that have been counted.
  std::optional<worker::v1::RecoveryReport> OnServing(uint32_t world_size, absl::Time now);

 private:
  void OnStarted(uint32_t rank, absl::Time started, absl::Time loaded);

  uint32_t count_ = 0;
  // Of the recovery under way.
  bool is_lost_ = false;
  std::string reason_;
  absl::Time lost_at_;
  absl::Duration noticed_after_;
  std::set<uint32_t> started_ranks_;  // those that had to be started again
  absl::Time last_start_ = absl::InfinitePast();
  absl::Time last_loaded_ = absl::InfinitePast();
};

}  // namespace quartet::worker_service
