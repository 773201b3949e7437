#include "cli/back_off.h"

#include <algorithm>

namespace quartet::cli {

BackOff::Duration BackOff::Next(Duration uptime) {
  if (next_.count() == 0 || uptime >= options_.healthy_after) next_ = options_.initial;
  const Duration wait = next_;
  next_ = std::min(next_ * 2, options_.maximum);
  return wait;
}

}  // namespace quartet::cli
