// How much service each tenant has had. After the virtual token counter of Sheng et al. 2024
// ("Fairness in Serving Large Language Models", section 4): every token served is charged to its
// tenant, whoever has the lowest counter is served next, and a tenant that comes back after a pause
// is lifted to the lowest counter of those that are there, so that idle time can't be saved up.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace quartet::engine {

// Not thread-safe.
class TenantLedger {
 public:
  // What sampling a token costs beside computing one, in computed tokens: a token of output is
  // twice as dear as one of a prompt.
  static constexpr int64_t kSampleCost = 1;
  // Tenants that are not there but still owe: so many are remembered.
  static constexpr size_t kMaxAbsent = 4096;

  // A sequence of the tenant came or went.
  void Enter(absl::string_view tenant);
  void Leave(absl::string_view tenant);
  // REQUIRES: the tenant is there.
  void Charge(absl::string_view tenant, int64_t cost);
  // 0 for a tenant that nothing is known of.
  int64_t counter(absl::string_view tenant) const;

 private:
  struct Account {
    int64_t counter = 0;
    int64_t num_sequences = 0;
  };
  // The lowest counter of the tenants that are there; what it was when the last one left if none
  // is.
  int64_t Floor();
  void ForgetAbsent();

  absl::flat_hash_map<std::string, Account> accounts_;
  size_t num_absent_ = 0;
  int64_t floor_ = 0;
};

}  // namespace quartet::engine
