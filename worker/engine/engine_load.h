// How busy an engine is, and what it has counted.
#pragma once

#include <cstdint>

#include "worker/engine/scheduler_counters.h"

namespace quartet::engine {

struct EngineLoad {
  int64_t num_running = 0;
  int64_t num_waiting = 0;
  int64_t num_used_blocks = 0;
  int64_t num_blocks = 0;
  int64_t num_waiting_tokens = 0;
  int64_t num_cached_blocks = 0;    // that hold a prefix and that nobody uses
  int64_t num_partial_prompts = 0;  // sequences in the newest step whose prompt does not end in it
  uint64_t num_steps = 0;
  SchedulerCounters counters;
};

}  // namespace quartet::engine
