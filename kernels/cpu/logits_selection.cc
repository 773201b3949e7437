#include "kernels/cpu/logits_selection.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/cpu/logits_scan.h"
#include "kernels/exact_math.h"

namespace quartet::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kWeightOne = 0x1p40f;
// How many candidates top_p looks at, one try after the other, before it looks at all.
constexpr int64_t kTopPTries[] = {64, 1024};

}  // namespace

void LogitsSelection::Reset(const float* values, int64_t count) {
  values_ = values;
  count_ = count;
  maxima_.resize(NumScanBlocks(count));
  ScanMaxima(values, count, maxima_.data());
  max_ = kNothing;
  for (float maximum : maxima_) max_ = std::max(max_, maximum);
}

int32_t LogitsSelection::ArgMax() const {
  const int64_t block = std::find(maxima_.begin(), maxima_.end(), max_) - maxima_.begin();
  const float* first = values_ + block * kScanBlock;
  const float* last = values_ + std::min(count_, (block + 1) * kScanBlock);
  return static_cast<int32_t>(std::find(first, last, max_) - values_);
}

void LogitsSelection::Gather(float at_least, std::vector<Candidate>* found) const {
  found->clear();
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (!(maxima_[block] >= at_least)) continue;
    const int64_t begin = static_cast<int64_t>(block) * kScanBlock;
    const int64_t end = std::min(count_, begin + kScanBlock);
    for (int64_t i = begin; i < end; ++i) {
      if (values_[i] >= at_least) found->push_back({values_[i], static_cast<int32_t>(i)});
    }
  }
}

void LogitsSelection::Best(int64_t k, std::vector<Candidate>* best) {
  float at_least = kLowest;
  if (k <= static_cast<int64_t>(maxima_.size())) {
    // At least k values, the maxima of k blocks, reach the k-th largest maximum.
    ordered_maxima_ = maxima_;
    std::nth_element(ordered_maxima_.begin(), ordered_maxima_.begin() + (k - 1),
                     ordered_maxima_.end(), std::greater<float>());
    at_least = std::max(kLowest, ordered_maxima_[k - 1]);
  }
  Gather(at_least, best);
  if (static_cast<int64_t>(best->size()) > k) {
    std::nth_element(best->begin(), best->begin() + (k - 1), best->end(), Better);
    best->resize(k);
  }
  std::sort(best->begin(), best->end(), Better);
}

uint64_t LogitsSelection::Weight(float value, float inverse_temperature) const {
  return static_cast<uint64_t>(ExactExp((value - max_) * inverse_temperature) * kWeightOne);
}

uint64_t LogitsSelection::SumOfWeights(float inverse_temperature) {
  sums_.resize(maxima_.size());
  ScanWeightSums(values_, count_, maxima_.data(), max_, inverse_temperature, sums_.data());
  uint64_t sum = 0;
  for (float block_sum : sums_) sum += static_cast<uint64_t>(block_sum * kWeightOne);
  return sum;
}

double LogitsSelection::LogSum() {
  return ExactLog(static_cast<double>(SumOfWeights(1.0f)) * 0x1p-40);
}

int32_t LogitsSelection::DrawFromAll(float inverse_temperature, double uniform) {
  const uint64_t sum = SumOfWeights(inverse_temperature);
  uint64_t left = std::min<uint64_t>(static_cast<uint64_t>(uniform * sum), sum - 1);
  size_t block = 0;
  for (; block + 1 < sums_.size(); ++block) {
    const uint64_t block_sum = static_cast<uint64_t>(sums_[block] * kWeightOne);
    if (left < block_sum) break;
    left -= block_sum;
  }
  // Rounding can make the block's own weights fall short of its sum; then the last with a weight.
  int32_t last = ArgMax();
  const int64_t end = std::min(count_, static_cast<int64_t>(block + 1) * kScanBlock);
  for (int64_t i = static_cast<int64_t>(block) * kScanBlock; i < end; ++i) {
    const uint64_t weight = Weight(values_[i], inverse_temperature);
    if (weight == 0) continue;
    last = static_cast<int32_t>(i);
    if (left < weight) break;
    left -= weight;
  }
  return last;
}

bool LogitsSelection::CutAt(uint64_t target, float inverse_temperature,
                            std::vector<Candidate>* sorted) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < sorted->size(); ++i) {
    sum += Weight((*sorted)[i].value, inverse_temperature);
    if (sum >= target) {
      sorted->resize(i + 1);
      return true;
    }
  }
  return false;
}

void LogitsSelection::CutUnsorted(uint64_t target, float inverse_temperature,
                                  std::vector<Candidate>* found) {
  // Quickselect by weight: [0, low) is kept for sure, [high, end) is not.
  order_ = *found;
  size_t low = 0;
  size_t high = order_.size();
  uint64_t sum_below_low = 0;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(order_.begin() + low, order_.begin() + middle, order_.begin() + high, Better);
    uint64_t sum = sum_below_low;
    for (size_t i = low; i < middle; ++i) sum += Weight(order_[i].value, inverse_temperature);
    if (sum >= target) {
      high = middle;
    } else {
      low = middle;
      sum_below_low = sum;
    }
  }
  const Candidate last = order_[low];
  std::erase_if(*found, [&](const Candidate& candidate) { return Better(last, candidate); });
}

// Leaves in kept_ the smallest set of the whole row that reaches top_p.
void LogitsSelection::CutTopP(float top_p, float inverse_temperature) {
  const uint64_t sum = SumOfWeights(inverse_temperature);
  const uint64_t target = static_cast<uint64_t>(static_cast<double>(top_p) * sum);
  for (int64_t k : kTopPTries) {
    if (k >= count_) break;
    Best(k, &kept_);
    if (CutAt(target, inverse_temperature, &kept_)) return;
  }
  Gather(kLowest, &kept_);
  CutUnsorted(target, inverse_temperature, &kept_);
}

int32_t LogitsSelection::DrawFromBest(float inverse_temperature, float min_p, int64_t top_k,
                                      float top_p, double uniform) {
  if (top_k <= 0 && min_p <= 0) {
    CutTopP(top_p, inverse_temperature);
    return Draw(inverse_temperature, uniform);
  }
  if (top_k > 0) {
    Best(std::min(top_k, count_), &kept_);
  } else {
    Gather(kLowest, &kept_);
  }
  std::erase_if(kept_, [&](const Candidate& candidate) {
    return ExactExp((candidate.value - max_) * inverse_temperature) < min_p;
  });
  if (top_p < 1) {
    if (top_k <= 0) std::sort(kept_.begin(), kept_.end(), Better);
    uint64_t sum = 0;
    for (const Candidate& candidate : kept_) sum += Weight(candidate.value, inverse_temperature);
    CutAt(static_cast<uint64_t>(static_cast<double>(top_p) * sum), inverse_temperature, &kept_);
  }
  return Draw(inverse_temperature, uniform);
}

int32_t LogitsSelection::Draw(float inverse_temperature, double uniform) const {
  uint64_t sum = 0;
  for (const Candidate& candidate : kept_) sum += Weight(candidate.value, inverse_temperature);
  uint64_t left = std::min<uint64_t>(static_cast<uint64_t>(uniform * sum), sum - 1);
  for (const Candidate& candidate : kept_) {
    const uint64_t weight = Weight(candidate.value, inverse_temperature);
    if (left < weight) return candidate.token_id;
    left -= weight;
  }
  return kept_.front().token_id;
}

}  // namespace quartet::kernels::cpu
