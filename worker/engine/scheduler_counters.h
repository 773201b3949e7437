// Counters of the scheduler, for loads and metrics.
#pragma once

#include <cstdint>

namespace quartet::engine {

// What the scheduler has counted since it was made.
struct SchedulerCounters {
  uint64_t num_preemptions = 0;
  uint64_t num_prefix_queried_tokens = 0;  // that a sequence began with
  uint64_t num_prefix_hit_tokens = 0;      // of those: found in the cache
};

}  // namespace quartet::engine
