// How long to wait before something that ended is started again.
#pragma once

#include <chrono>

namespace quartet::common {

class BackOff {
 public:
  using Duration = std::chrono::milliseconds;

  struct Options {
    // The wait after the second short life; after the first there is none.
    Duration initial{200};
    Duration maximum{10'000};
    // What lived this long starts afresh.
    Duration healthy_after{5'000};
  };

  explicit BackOff(const Options& options) : options_(options) {}

  // The wait after a life of `uptime`: none, then `initial`, then doubled each time up to
  // `maximum`.
  Duration Next(Duration uptime);

 private:
  Options options_;
  Duration next_{0};
};

}  // namespace quartet::common
