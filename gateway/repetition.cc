#include "gateway/repetition.h"

namespace quartet::gateway {
namespace {

// Whether the `length` ids before `end` are min_count times the same `size`.
bool Repeats(const TokenIds& ids, size_t end, size_t size, size_t length) {
  if (end < length) return false;
  for (size_t i = end - length + size; i < end; ++i) {
    if (ids[i] != ids[i - size]) return false;
  }
  return true;
}

}  // namespace

size_t FirstRepetition(const TokenIds& ids, size_t num_checked,
                       const RepetitionDetection& detection) {
  for (size_t end = num_checked + 1; end <= ids.size(); ++end) {
    for (size_t size = detection.min_pattern_size; size <= detection.max_pattern_size; ++size) {
      if (Repeats(ids, end, size, size * detection.min_count)) return end;
    }
  }
  return 0;
}

}  // namespace quartet::gateway
