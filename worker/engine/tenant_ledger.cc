#include "worker/engine/tenant_ledger.h"

#include <algorithm>

#include "common/status_macros.h"

namespace quartet::engine {

int64_t TenantLedger::Floor() {
  bool any = false;
  int64_t lowest = 0;
  for (const auto& [tenant, account] : accounts_) {
    if (account.num_sequences == 0) continue;
    lowest = any ? std::min(lowest, account.counter) : account.counter;
    any = true;
  }
  if (any) floor_ = std::max(floor_, lowest);
  return floor_;
}

void TenantLedger::Enter(absl::string_view tenant) {
  const auto found = accounts_.find(tenant);
  if (found != accounts_.end() && found->second.num_sequences > 0) {
    ++found->second.num_sequences;
    return;
  }
  const int64_t floor = Floor();
  if (found != accounts_.end()) --num_absent_;
  Account& account = accounts_[tenant];
  account.counter = std::max(account.counter, floor);
  account.num_sequences = 1;
}

void TenantLedger::Leave(absl::string_view tenant) {
  const auto found = accounts_.find(tenant);
  QUARTET_CHECK(found != accounts_.end() && found->second.num_sequences > 0);
  // The floor is taken while the tenant is still there: it may be the last.
  if (found->second.num_sequences == 1) Floor();
  if (--found->second.num_sequences > 0) return;
  ++num_absent_;
  if (num_absent_ > kMaxAbsent) ForgetAbsent();
}

// Those that owe nothing are as good as new ones; if that is not enough, all go.
void TenantLedger::ForgetAbsent() {
  const int64_t floor = Floor();
  const auto erase_if = [this](auto predicate) {
    for (auto it = accounts_.begin(); it != accounts_.end();) {
      const auto here = it++;
      if (here->second.num_sequences > 0 || !predicate(here->second)) continue;
      accounts_.erase(here);
      --num_absent_;
    }
  };
  erase_if([floor](const Account& account) { return account.counter <= floor; });
  if (num_absent_ > kMaxAbsent / 2) erase_if([](const Account&) { return true; });
}

void TenantLedger::Charge(absl::string_view tenant, int64_t cost) {
  const auto found = accounts_.find(tenant);
  QUARTET_CHECK(found != accounts_.end() && found->second.num_sequences > 0);
  found->second.counter += cost;
}

int64_t TenantLedger::counter(absl::string_view tenant) const {
  const auto found = accounts_.find(tenant);
  return found == accounts_.end() ? 0 : found->second.counter;
}

}  // namespace quartet::engine
