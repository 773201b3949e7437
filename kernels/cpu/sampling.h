// The sampler: one token from each row of logits. See kernels/sampling.h for the order of its
// operations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/sampling.h"

namespace quartet::kernels::cpu {

// `logits`: [*, vocab_size] f32, row-major; SampleRow::logits_row picks the row. `out` gets one
// entry a row, in order. Each answer depends on its row alone. Returns INVALID_ARGUMENT if a size
// makes no sense. Temperatures below 1e-5 are greedy. Rows run in parallel on `pool`, or one after
// the other if it is null. REQUIRES: every logits_row exists.
absl::Status Sample(const float* logits, int64_t vocab_size, int64_t sample_limit,
                    std::span<const SampleRow> rows, ThreadPool* pool,
                    std::vector<SampledToken>* out);

}  // namespace quartet::kernels::cpu
