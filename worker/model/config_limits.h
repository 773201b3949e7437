// The largest sizes that a config file may give: far above any real model, small enough that
// products of a few of them don't overflow int64.
#pragma once

#include <cstdint>

namespace quartet::model {

inline constexpr int64_t kMaxHiddenSize = 1 << 18;
inline constexpr int64_t kMaxIntermediateSize = 1 << 20;
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxHeads = 1024;
inline constexpr int64_t kMaxHeadDim = 1024;
inline constexpr int64_t kMaxVocabSize = 1 << 24;
inline constexpr int64_t kMaxPositions = 1 << 30;
inline constexpr double kMaxRopeFactor = 1e6;

}  // namespace quartet::model
