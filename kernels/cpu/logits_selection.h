// The best values of one row of logits without sorting the row, and the draw from them. Weights are
// fixed-point integers, so that sums don't depend on the order in which candidates are visited.
#pragma once

#include <cstdint>
#include <vector>

namespace quartet::kernels::cpu {

struct Candidate {
  float value = 0;  // the logit after bias and penalties
  int32_t token_id = 0;
};

// The better one: the larger value, then the lower id.
inline bool Better(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.token_id < b.token_id);
}

// One row with the maxima of its blocks. Keeps scratch memory between rows.
class LogitsSelection {
 public:
  // `values` [count] must stay until the next call.
  void Reset(const float* values, int64_t count);

  // The largest value; minus infinity if there is no number.
  float max() const { return max_; }
  // The id of the largest value, the lowest on a tie. REQUIRES: max() is finite.
  int32_t ArgMax() const;
  // The `k` best, best first; fewer if there are fewer numbers.
  void Best(int64_t k, std::vector<Candidate>* best);

  // Draws from all tokens at this temperature. `uniform` in [0, 1).
  int32_t DrawFromAll(float inverse_temperature, double uniform);
  // Draws from the tokens that min_p, then top_k (0: all), then top_p leave.
  int32_t DrawFromBest(float inverse_temperature, float min_p, int64_t top_k, float top_p,
                       double uniform);

  // Natural logarithm of the sum of e^(value - max()).
  double LogSum();

 private:
  // e^((value - max) * inverse_temperature) as a fixed-point number; the best has 2^40.
  uint64_t Weight(float value, float inverse_temperature) const;
  uint64_t SumOfWeights(float inverse_temperature);
  // All candidates of at least this value, in id order.
  void Gather(float at_least, std::vector<Candidate>* found) const;
  // Cuts `sorted` after the first whose weights reach `target`; false if they don't.
  bool CutAt(uint64_t target, float inverse_temperature, std::vector<Candidate>* sorted) const;
  // The same for unsorted candidates in id order, in linear time; the result is in id order.
  void CutUnsorted(uint64_t target, float inverse_temperature, std::vector<Candidate>* found);
  void CutTopP(float top_p, float inverse_temperature);
  int32_t Draw(float inverse_temperature, double uniform) const;

  const float* values_ = nullptr;
  int64_t count_ = 0;
  float max_ = 0;
  std::vector<float> maxima_;
  std::vector<float> sums_;
  std::vector<float> ordered_maxima_;
  std::vector<Candidate> kept_;
  std::vector<Candidate> order_;
};

}  // namespace quartet::kernels::cpu
