// The order in which prompts are read. Three rules, one after the other:
//   1. Class: a lower priority number goes first, but waiting ages: each unit of priority counts as
//      ten seconds, so the class whose oldest sequence has the lowest arrival + 10 s * priority.
//   2. Inside a class, the tenant that has had the least service (tenant_ledger.h).
//   3. Of one tenant, the sequence that came first.
// Nobody starves: classes age, a tenant's counter grows only when it is served, and each tenant's
// own line moves on.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "worker/engine/sequence.h"
#include "worker/engine/tenant_ledger.h"

namespace quartet::engine {

inline constexpr int64_t kPriorityMilliseconds = 10'000;

// Points to sequences that others own. Not thread-safe.
class FairQueue {
 public:
  explicit FairQueue(const TenantLedger* ledger) : ledger_(ledger) {}

  // REQUIRES: `sequence` is not in the queue, or is, respectively.
  void Add(Sequence* sequence);
  void Remove(Sequence* sequence);

  bool empty() const { return classes_.empty(); }
  // Who is next; null if nobody waits.
  Sequence* Head() const;
  // Whether `a`, one queue's head, goes before `b`, another's, by the same rules.
  bool Precedes(const Sequence& a, const Sequence& b) const;

 private:
  struct Class {
    std::set<Arrival> arrivals;
    absl::flat_hash_map<std::string, std::map<Arrival, Sequence*>> by_tenant;
  };
  const TenantLedger* const ledger_;
  std::map<int32_t, Class> classes_;  // by priority
};

}  // namespace quartet::engine
