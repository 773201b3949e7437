// Keeps the claim "the ranks answer" fresh while nothing is to be done: asks for an empty step when
// the last sign of life is old, and notices when such a step does not come.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace quartet::engine {

// Not thread-safe.
class IdleProbe {
 public:
  // Asks after `interval` without a sign; a step must have started within `limit` of asking.
  IdleProbe(absl::Duration interval, absl::Duration limit, absl::Time now)
      : interval_(interval), limit_(limit), begin_(now) {}

  // Call about once a second, with StepWatchdog::LastSign(). Calls `probe` if it is time. Returns
  // DEADLINE_EXCEEDED if the engine has not even begun the step that was asked for.
  absl::Status Tick(absl::Time last_sign, absl::Time now, const std::function<void()>& probe);

 private:
  const absl::Duration interval_;
  const absl::Duration limit_;
  const absl::Time begin_;
  absl::Time asked_ = absl::InfinitePast();  // the infinite past: no question is open
};

}  // namespace quartet::engine
