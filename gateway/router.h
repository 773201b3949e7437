// Which group a sequence goes to, and whose news is whose.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/metrics.h"
#include "gateway/prefix_affinity.h"
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
  // The group at `address` did not take the sequence: RESOURCE_EXHAUSTED if its queue is full,
  // UNAVAILABLE if it drains. The router has forgotten the sequence.
  virtual void OnSequenceRefused(const absl::Status& why, const std::string& address) = 0;
  // A group takes sequences (again): the moment to submit, for those that asked with AwaitGroup.
  virtual void OnGroupAvailable() = 0;
};

// Which groups a sequence may go to.
struct Placement {
  // Only groups with this numerics id and model; empty means any. What has begun on one goes on
  // only where the bits are the same.
  std::string numerics_id;
  std::string model_hash;
  // Not the groups at these addresses: they have refused the sequence.
  std::vector<std::string> refused_by;
};

struct RouterOptions {
  // A group with more than this many times its even share of the sequences is passed over, whatever
  // prefix it holds (consistent hashing with bounded loads, Mirrokni et al. 2018).
  double max_imbalance = 1.25;
  // Tells this gateway's choices among equally loaded groups from those of other gateways, which
  // see the same loads a poll late.
  uint64_t seed = 0;
};

// A sequence goes to the group that probably holds its prompt's prefix, unless that one has more
// than its share of work; a prompt of less than a KV block to the least loaded. Groups that drain
// get nothing, and unhealthy ones only if all are. Used on the gateway's loop only.
class Router : public WorkerGroupListener {
 public:
  struct Route {
    uint64_t sequence_id = 0;
    Placement placement;  // What a resumed sequence must ask for.
  };

  Router(const RouterOptions& options, Metrics* metrics);

  // Draws a sequence id and hands the sequence to a group. Returns UNAVAILABLE if there is none
  // that it may go to.
  absl::StatusOr<Route> Submit(Submission submission, const Placement& placement,
                               SequenceListener* listener);
  // No news of the sequence comes any more. Does nothing if the router doesn't know it.
  void Cancel(uint64_t sequence_id);
  // `listener` hears of the next group that becomes available, once.
  void AwaitGroup(SequenceListener* listener);
  // `listener` is going away.
  void StopWaiting(SequenceListener* listener);

  bool has_group() const { return !groups_.empty(); }
  // All attached groups, in the order of their addresses.
  std::vector<WorkerGroup*> groups() const;
  size_t num_waiting() const { return waiting_.size(); }
  // Tokens that the group has generated for this gateway since it attached. REQUIRES: attached.
  uint64_t num_tokens(WorkerGroup* group) const { return groups_.at(group).num_tokens; }

  void OnAttached(WorkerGroup* group) override;
  void OnDetached(WorkerGroup* group, const absl::Status& why) override;
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override;
  void OnLoadChanged(WorkerGroup* group) override;

 private:
  struct GroupWork {
    size_t num_ours = 0;      // This gateway's sequences: known to the moment.
    size_t num_others = 0;    // Other gateways': known from the last poll.
    bool available = true;    // Healthy and not draining, when last looked at.
    uint64_t num_tokens = 0;  // Generated for this gateway since the group attached.
    size_t total() const { return num_ours + num_others; }
  };
  struct Sequence {
    WorkerGroup* group;
    SequenceListener* listener;
    bool has_begun = false;  // There was news of it.
  };
  using Groups = std::map<WorkerGroup*, GroupWork>;

  // Groups that `placement` allows; the healthy ones if any is.
  std::vector<Groups::iterator> Candidates(const Placement& placement);
  // Returns groups_.end() if there is no candidate.
  Groups::iterator Pick(const Submission& submission, const Placement& placement);
  void NotifyWaiting();
  void Forget(std::unordered_map<uint64_t, Sequence>::iterator sequence);

  const RouterOptions options_;
  Metrics* const metrics_;
  Groups groups_;  // The attached ones.
  PrefixMemory memory_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  std::set<SequenceListener*> waiting_;
  std::set<SequenceListener*> notifying_;  // Those of waiting_ that are yet to be called.
  uint64_t next_sequence_id_ = 1;
};

}  // namespace quartet::gateway
