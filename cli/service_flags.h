// Which flags the services have, so that `quartet serve` can pass each on to every service that has
// it. A test compares this list with what the binaries' own --help says.
#pragma once

#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace quartet::cli {

enum Service : unsigned { kTokenizer = 1, kWorker = 2, kGateway = 4 };

struct ServiceFlag {
  absl::string_view name;
  unsigned services;  // a sum of Service values
  bool is_bool;
  absl::string_view help;
};

// Flags that a user may give to `quartet serve`.
std::span<const ServiceFlag> ServiceFlags();

// Flags of the services that `quartet serve` sets itself and refuses.
std::span<const ServiceFlag> OwnedServiceFlags();

}  // namespace quartet::cli
