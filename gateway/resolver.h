// Names to addresses, as a plain interface: dns_resolver.h is the real one, tests bring their own.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace quartet::gateway {

// Used on the gateway's loop only.
class Resolver {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<std::vector<std::string>>)>;

  virtual ~Resolver() = default;
  // All addresses of `host`, each with `port`, in the form that channels take ("10.1.2.3:50051",
  // "[fd00::7]:50051"), sorted; only the IPv4 ones if it has any. `done` is called on the loop,
  // later.
  virtual void Resolve(const std::string& host, const std::string& port, Done done) = 0;
};

}  // namespace quartet::gateway
