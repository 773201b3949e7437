#include "worker/engine/fair_queue.h"

#include <tuple>
#include <utility>

#include "common/status_macros.h"

namespace quartet::engine {
namespace {

// A later arrival loses a tie.
std::pair<int64_t, uint64_t> Score(int32_t priority, const Arrival& arrival) {
  return {arrival.milliseconds + priority * kPriorityMilliseconds, arrival.number};
}

}  // namespace

void FairQueue::Add(Sequence* sequence) {
  Class& members = classes_[sequence->request().priority];
  const Arrival arrival = sequence->arrival_order();
  const bool is_new = members.arrivals.insert(arrival).second;
  QUARTET_CHECK(is_new);
  members.by_tenant[sequence->request().tenant].emplace(arrival, sequence);
}

void FairQueue::Remove(Sequence* sequence) {
  const auto members = classes_.find(sequence->request().priority);
  QUARTET_CHECK(members != classes_.end());
  const Arrival arrival = sequence->arrival_order();
  QUARTET_CHECK(members->second.arrivals.erase(arrival) == 1);
  if (members->second.arrivals.empty()) {
    classes_.erase(members);
    return;
  }
  const auto line = members->second.by_tenant.find(sequence->request().tenant);
  line->second.erase(arrival);
  if (line->second.empty()) members->second.by_tenant.erase(line);
}

Sequence* FairQueue::Head() const {
  const Class* first = nullptr;
  std::pair<int64_t, uint64_t> best_score;
  for (const auto& [priority, members] : classes_) {
    const auto score = Score(priority, *members.arrivals.begin());
    if (first != nullptr && score >= best_score) continue;
    first = &members;
    best_score = score;
  }
  if (first == nullptr) return nullptr;
  Sequence* head = nullptr;
  int64_t best_counter = 0;
  for (const auto& [tenant, line] : first->by_tenant) {
    const auto& [arrival, sequence] = *line.begin();
    const int64_t counter = ledger_->counter(tenant);
    if (head != nullptr &&
        std::tie(counter, arrival) >= std::make_tuple(best_counter, head->arrival_order())) {
      continue;
    }
    head = sequence;
    best_counter = counter;
  }
  return head;
}

bool FairQueue::Precedes(const Sequence& a, const Sequence& b) const {
  if (a.request().priority != b.request().priority) {
    return Score(a.request().priority, a.arrival_order()) <
           Score(b.request().priority, b.arrival_order());
  }
  return std::make_tuple(ledger_->counter(a.request().tenant), a.arrival_order()) <
         std::make_tuple(ledger_->counter(b.request().tenant), b.arrival_order());
}

}  // namespace quartet::engine
