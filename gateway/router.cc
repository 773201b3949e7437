#include "gateway/router.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"

namespace quartet::gateway {

WorkerGroup* Router::Pick(const Placement& placement) {
  WorkerGroup* best = nullptr;
  size_t best_load = 0;
  for (const auto& [group, num_sequences] : groups_) {
    if (!placement.numerics_id.empty() && (group->info().numerics_id != placement.numerics_id ||
                                           group->info().model_hash != placement.model_hash)) {
      continue;
    }
    // Our own sequences are known to the moment; what other gateways put there is known from the
    // last poll.
    const size_t polled = group->load().num_running + group->load().num_waiting;
    const size_t load = std::max(num_sequences, polled);
    if (best == nullptr || load < best_load) {
      best = group;
      best_load = load;
    }
  }
  return best;
}

absl::StatusOr<Router::Route> Router::Submit(Submission submission, const Placement& placement,
                                             SequenceListener* listener) {
  WorkerGroup* const group = Pick(placement);
  if (group == nullptr) {
    return absl::UnavailableError(
        groups_.empty() ? "no worker is attached to the gateway; try again when /health says 200"
                        : absl::StrCat("no attached worker has the numerics id '",
                                       placement.numerics_id, "' that this request began with"));
  }
  submission.sequence_id = next_sequence_id_++;
  sequences_[submission.sequence_id] = {group, listener};
  ++groups_[group];
  group->Submit(submission);
  return Route{submission.sequence_id, {group->info().numerics_id, group->info().model_hash}};
}

void Router::Cancel(uint64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  WorkerGroup* const group = found->second.group;
  sequences_.erase(found);
  --groups_[group];
  group->Cancel(sequence_id);
}

void Router::AwaitGroup(SequenceListener* listener) { waiting_.insert(listener); }

void Router::StopWaiting(SequenceListener* listener) {
  waiting_.erase(listener);
  notifying_.erase(listener);
}

std::vector<const WorkerGroup*> Router::groups() const {
  std::vector<const WorkerGroup*> all;
  for (const auto& [group, count] : groups_) all.push_back(group);
  std::sort(all.begin(), all.end(),
            [](const WorkerGroup* a, const WorkerGroup* b) { return a->address() < b->address(); });
  return all;
}

void Router::OnAttached(WorkerGroup* group) {
  groups_[group] = 0;
  // A listener may ask to wait again, or make another one stop waiting.
  notifying_ = std::exchange(waiting_, {});
  while (!notifying_.empty()) {
    SequenceListener* const listener = notifying_.extract(notifying_.begin()).value();
    listener->OnGroupAttached();
  }
}

void Router::OnDetached(WorkerGroup* group, const absl::Status& why) {
  groups_.erase(group);
  std::vector<uint64_t> lost;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.group == group) lost.push_back(id);
  }
  for (uint64_t id : lost) {
    // One listener's failure may cancel another that is in `lost` too.
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) continue;
    SequenceListener* const listener = found->second.listener;
    sequences_.erase(found);
    listener->OnSequenceLost(why);
  }
}

void Router::OnStep(WorkerGroup* group, std::vector<SequenceNews> news) {
  for (SequenceNews& item : news) {
    if (absl::IsUnavailable(item.error)) {
      // A leader that has lost a rank says so for each sequence just before its stream breaks.
      // Nothing may go there any more; all that was there goes on elsewhere or when the group is
      // back.
      OnDetached(group, item.error);
      return;
    }
    const auto found = sequences_.find(item.sequence_id);
    // Cancelled meanwhile: the news was on its way.
    if (found == sequences_.end() || found->second.group != group) continue;
    SequenceListener* const listener = found->second.listener;
    if (item.finish_reason != FinishReason::kNone || !item.error.ok()) {
      sequences_.erase(found);
      --groups_[group];
    }
    listener->OnSequenceNews(std::move(item));
  }
}

}  // namespace quartet::gateway
