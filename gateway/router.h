// Which group a sequence goes to, and whose news is whose.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/worker_group.h"

namespace quartet::gateway {

// The owner of one sequence. Called on the gateway's loop.
class SequenceListener {
 public:
  virtual ~SequenceListener() = default;
  // After news with a finish reason or an error the router has forgotten the sequence.
  virtual void OnSequenceNews(SequenceNews news) = 0;
  // The group is gone and the sequence with it.
  virtual void OnSequenceLost(const absl::Status& why) = 0;
  // A group attached: the moment to submit again, for those that asked with AwaitGroup.
  virtual void OnGroupAttached() = 0;
};

// Which groups a sequence may go to.
struct Placement {
  // Only groups with this numerics id and model; empty means any. What has begun on one goes on
  // only where the bits are the same.
  std::string numerics_id;
  std::string model_hash;
};

// Used on the gateway's loop only.
class Router : public WorkerGroupListener {
 public:
  struct Route {
    uint64_t sequence_id = 0;
    Placement placement;  // What a resumed sequence must ask for.
  };

  // Draws a sequence id and hands the sequence to the least loaded group that fits. Returns
  // UNAVAILABLE if none is attached.
  absl::StatusOr<Route> Submit(Submission submission, const Placement& placement,
                               SequenceListener* listener);
  // No news of the sequence comes any more. Does nothing if the router doesn't know it.
  void Cancel(uint64_t sequence_id);
  // `listener` hears of the next group that attaches, once.
  void AwaitGroup(SequenceListener* listener);
  // `listener` is going away.
  void StopWaiting(SequenceListener* listener);

  bool has_group() const { return !groups_.empty(); }
  // All attached groups, in the order of their addresses.
  std::vector<const WorkerGroup*> groups() const;
  // The group that facts about the model come from. REQUIRES: has_group().
  const GroupInfo& model() const { return groups_.begin()->first->info(); }
  size_t num_waiting() const { return waiting_.size(); }

  void OnAttached(WorkerGroup* group) override;
  void OnDetached(WorkerGroup* group, const absl::Status& why) override;
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override;
  void OnLoadChanged(WorkerGroup* group) override {}

 private:
  struct Sequence {
    WorkerGroup* group;
    SequenceListener* listener;
  };
  WorkerGroup* Pick(const Placement& placement);

  // Attached groups and the number of this gateway's sequences in each.
  std::map<WorkerGroup*, size_t> groups_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  std::set<SequenceListener*> waiting_;
  std::set<SequenceListener*> notifying_;  // Those of waiting_ that OnAttached has yet to call.
  uint64_t next_sequence_id_ = 1;
};

}  // namespace quartet::gateway
