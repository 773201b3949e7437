// How long ago this process was started, by the kernel's account: so that a recovery's time can be
// told apart into restarting and loading.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace quartet::worker_service {

// Zero if /proc does not say.
absl::Duration ProcessAge();

// From the text of /proc/self/stat, the kernel's ticks per second, and the time since it booted.
absl::Duration ProcessAgeFrom(absl::string_view stat, int64_t ticks_per_second,
                              absl::Duration since_boot);

}  // namespace quartet::worker_service
