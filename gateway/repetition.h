// Finds answers that go round in circles.
#pragma once

#include "gateway/generation_types.h"

namespace quartet::gateway {

// How many of `ids` there were when some pattern that `detection` looks for first stood min_count
// times in a row at their end; 0 if never. The first `num_checked` are known to be free of it.
size_t FirstRepetition(const TokenIds& ids, size_t num_checked,
                       const RepetitionDetection& detection);

}  // namespace quartet::gateway
