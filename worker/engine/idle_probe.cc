#include "worker/engine/idle_probe.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace quartet::engine {

absl::Status IdleProbe::Tick(absl::Time last_sign, absl::Time now,
                             const std::function<void()>& probe) {
  if (last_sign >= asked_) asked_ = absl::InfinitePast();
  if (asked_ != absl::InfinitePast()) {
    if (now - asked_ <= limit_) return absl::OkStatus();
    return absl::DeadlineExceededError(absl::StrCat("the engine has begun no step for ",
                                                    absl::FormatDuration(now - asked_),
                                                    " although a probe was asked for"));
  }
  if (now - std::max(last_sign, begin_) < interval_) return absl::OkStatus();
  asked_ = now;
  probe();
  return absl::OkStatus();
}

}  // namespace quartet::engine
