#include "gateway/router.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging.h"

namespace quartet::gateway {
namespace {

// A prompt without a remembered prefix goes by its first blocks: long enough to tell system prompts
// apart, short enough for what the prompts of one application share.
constexpr size_t kHomeBlocks = 4;
// Prompts remembered; about 100 bytes each.
constexpr size_t kMemoryCapacity = 1 << 16;

}  // namespace

Router::Router(const RouterOptions& options, Metrics* metrics)
    : options_(options), metrics_(metrics), memory_(kMemoryCapacity) {}

std::vector<Router::Groups::iterator> Router::Candidates(const Placement& placement) {
  std::vector<Groups::iterator> healthy;
  std::vector<Groups::iterator> unhealthy;
  for (auto it = groups_.begin(); it != groups_.end(); ++it) {
    const WorkerGroup& group = *it->first;
    if (group.draining()) continue;
    if (!placement.numerics_id.empty() && (group.info().numerics_id != placement.numerics_id ||
                                           group.info().model_hash != placement.model_hash)) {
      continue;
    }
    const auto& refused = placement.refused_by;
    if (std::find(refused.begin(), refused.end(), group.address()) != refused.end()) continue;
    (group.healthy() ? healthy : unhealthy).push_back(it);
  }
  return healthy.empty() ? unhealthy : healthy;
}

Router::Groups::iterator Router::Pick(const Submission& submission, const Placement& placement) {
  const std::vector<Groups::iterator> candidates = Candidates(placement);
  if (candidates.empty()) return groups_.end();
  const std::vector<uint64_t> hashes =
      BlockHashes(*submission.prompt_ids, submission.cache_salt,
                  candidates.front()->first->info().kv_block_tokens);
  if (hashes.empty()) {
    const auto rank = [salt = options_.seed + next_sequence_id_](Groups::iterator candidate) {
      return std::make_pair(candidate->second.total(),
                            RendezvousScore(salt, candidate->first->address()));
    };
    return *std::min_element(
        candidates.begin(), candidates.end(),
        [&rank](Groups::iterator a, Groups::iterator b) { return rank(a) < rank(b); });
  }
  size_t total = 1;
  for (Groups::iterator candidate : candidates) total += candidate->second.total();
  // At least the even share, so some candidate is always below it.
  const double bound = std::ceil(options_.max_imbalance * static_cast<double>(total) /
                                 static_cast<double>(candidates.size()));
  const std::string* const known = memory_.Find(hashes);
  const uint64_t home = hashes[std::min(hashes.size(), kHomeBlocks) - 1];
  Groups::iterator best = groups_.end();
  uint64_t best_score = 0;
  for (Groups::iterator candidate : candidates) {
    if (static_cast<double>(candidate->second.total() + 1) > bound) continue;
    const std::string& address = candidate->first->address();
    if (known != nullptr && *known == address) {
      best = candidate;
      break;
    }
    const uint64_t score = RendezvousScore(home, address);
    if (best != groups_.end() && score <= best_score) continue;
    best = candidate;
    best_score = score;
  }
  memory_.Remember(hashes, best->first->address());
  return best;
}

absl::StatusOr<Router::Route> Router::Submit(Submission submission, const Placement& placement,
                                             SequenceListener* listener) {
  const Groups::iterator picked = Pick(submission, placement);
  if (picked == groups_.end()) {
    return absl::UnavailableError(
        groups_.empty() ? "no worker is attached to the gateway; try again when /health says 200"
        : placement.numerics_id.empty()
            ? "all attached workers are draining or have refused the request"
            : absl::StrCat("no attached worker that takes work has the numerics id '",
                           placement.numerics_id, "' that this request began with"));
  }
  WorkerGroup* const group = picked->first;
  submission.sequence_id = next_sequence_id_++;
  sequences_[submission.sequence_id] = {group, listener};
  ++picked->second.num_ours;
  group->Submit(submission);
  return Route{submission.sequence_id, {group->info().numerics_id, group->info().model_hash, {}}};
}

void Router::Forget(std::unordered_map<uint64_t, Sequence>::iterator sequence) {
  const auto group = groups_.find(sequence->second.group);
  if (group != groups_.end()) --group->second.num_ours;
  sequences_.erase(sequence);
}

void Router::Cancel(uint64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  WorkerGroup* const group = found->second.group;
  Forget(found);
  group->Cancel(sequence_id);
}

void Router::AwaitGroup(SequenceListener* listener) {
  waiting_.insert(listener);
  metrics_->SetAwaitingGroup(waiting_.size());
}

void Router::StopWaiting(SequenceListener* listener) {
  notifying_.erase(listener);
  if (waiting_.erase(listener) > 0) metrics_->SetAwaitingGroup(waiting_.size());
}

std::vector<WorkerGroup*> Router::groups() const {
  std::vector<WorkerGroup*> all;
  for (const auto& [group, work] : groups_) all.push_back(group);
  std::sort(all.begin(), all.end(),
            [](const WorkerGroup* a, const WorkerGroup* b) { return a->address() < b->address(); });
  return all;
}

void Router::NotifyWaiting() {
  // A listener may ask to wait again, or make another one stop waiting.
  notifying_ = std::exchange(waiting_, {});
  while (!notifying_.empty()) {
    SequenceListener* const listener = notifying_.extract(notifying_.begin()).value();
    listener->OnGroupAvailable();
  }
  metrics_->SetAwaitingGroup(waiting_.size());
}

void Router::OnAttached(WorkerGroup* group) {
  groups_[group] = GroupWork();
  OnLoadChanged(group);
  NotifyWaiting();
}

void Router::OnLoadChanged(WorkerGroup* group) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return;
  GroupWork& work = found->second;
  const size_t polled = group->load().num_running + group->load().num_waiting;
  work.num_others = polled - std::min(polled, work.num_ours);
  const bool available = group->healthy() && !group->draining();
  const bool is_back = available && !work.available;
  work.available = available;
  if (is_back) NotifyWaiting();
}

void Router::OnDetached(WorkerGroup* group, const absl::Status& why) {
  groups_.erase(group);
  std::vector<uint64_t> lost;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.group == group) lost.push_back(id);
  }
  std::sort(lost.begin(), lost.end());  // What came first goes on first.
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
  const auto work = groups_.find(group);
  for (const SequenceNews& item : news) {
    if (work != groups_.end()) work->second.num_tokens += item.token_ids.size();
  }
  for (SequenceNews& item : news) {
    const bool unavailable = absl::IsUnavailable(item.error);
    if (unavailable && !group->draining()) {
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
    const bool has_begun = std::exchange(found->second.has_begun, true);
    if (item.finish_reason != FinishReason::kNone || !item.error.ok()) Forget(found);
    if (!has_begun && (unavailable || absl::IsResourceExhausted(item.error))) {
      listener->OnSequenceRefused(item.error, group->address());
    } else if (unavailable) {
      // It drains and dies: the rest will follow, and nothing new goes there anyway.
      listener->OnSequenceLost(item.error);
    } else {
      listener->OnSequenceNews(std::move(item));
    }
  }
}

}  // namespace quartet::gateway
