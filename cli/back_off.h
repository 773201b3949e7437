// How long to wait before a process that died is started again.
#pragma once

#include <chrono>

namespace quartet::cli {

class BackOff {
 public:
  using Duration = std::chrono::milliseconds;

  struct Options {
    Duration initial{200};
    Duration maximum{10'000};
    // A process that lived this long starts afresh.
    Duration healthy_after{60'000};
  };

  explicit BackOff(const Options& options) : options_(options) {}

  // The wait after a process that lived for `uptime`: `initial`, then doubled each time up to
  // `maximum`.
  Duration Next(Duration uptime);

 private:
  Options options_;
  Duration next_{0};
};

}  // namespace quartet::cli
