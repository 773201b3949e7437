#include "common/back_off.h"

#include <algorithm>

namespace quartet::common {

BackOff::Duration BackOff::Next(Duration uptime) {
  if (uptime >= options_.healthy_after) next_ = Duration(0);
  const Duration wait = next_;
  next_ = wait.count() == 0 ? options_.initial : std::min(wait * 2, options_.maximum);
  return wait;
}

}  // namespace quartet::common
