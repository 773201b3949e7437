// The passes over a row and the selection from it, against a sort and sums in double.
#include "kernels/cpu/logits_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/cpu/logits_scan.h"

namespace quartet::kernels::cpu {
namespace {

constexpr uint32_t kSeed = 20240611;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& value : logits) value = normal(random);
  return logits;
}

TEST(LogitsScanTest, FindsMaximaAndSumsOfRaggedRows) {
  for (int64_t count : {1, 15, 63, 64, 65, 1000, 4097}) {
    const std::vector<float> v = RandomLogits(count, kSeed + count);
    std::vector<float> maxima(NumScanBlocks(count)), sums(maxima.size());
    ScanMaxima(v.data(), count, maxima.data());
    const float max = *std::max_element(v.begin(), v.end());
    ASSERT_EQ(*std::max_element(maxima.begin(), maxima.end()), max);
    ScanWeightSums(v.data(), count, maxima.data(), max, 0.7f, sums.data());
    double sum = 0, truth = 0;
    for (float s : sums) sum += s;
    for (float x : v) truth += std::exp((static_cast<double>(x) - max) * 0.7f);
    ASSERT_NEAR(sum / truth, 1.0, 1e-6);
    ASSERT_EQ(CountGreater(v.data(), count, v[0]),
              std::count_if(v.begin(), v.end(), [&](float x) { return x > v[0]; }));
  }
}

TEST(LogitsScanTest, CopiesWhatAMaskAllows) {
  std::mt19937 random(kSeed);
  for (int64_t count : {1, 31, 32, 33, 500, 4097}) {
    const std::vector<float> v = RandomLogits(count, kSeed + count);
    // Words of all kinds, and a mask that ends before the row does.
    for (int64_t num_words : {int64_t{0}, count / 32, count / 32 + 1}) {
      std::vector<uint32_t> mask(num_words);
      for (uint32_t& word : mask) word = random() % 3 == 0 ? 0 : random() % 2 == 0 ? ~0u : random();
      std::vector<float> out(count, 77);
      CopyAllowed(v.data(), count, mask, out.data());
      for (int64_t i = 0; i < count; ++i) {
        const bool allowed = i / 32 < num_words && (mask[i / 32] >> (i % 32) & 1) != 0;
        ASSERT_EQ(out[i], allowed ? v[i] : -kInfinity) << i << " of " << count;
      }
    }
  }
}

TEST(LogitsSelectionTest, BestAreThoseOfASort) {
  std::vector<float> v = RandomLogits(5000, kSeed);
  for (int i = 0; i < 5000; i += 7) v[i] = 2.5f;  // ties
  v[17] = std::nanf("");
  v[4999] = -kInfinity;
  std::vector<Candidate> sorted;
  for (int i = 0; i < 5000; ++i) {
    if (i != 17 && i != 4999) sorted.push_back({v[i], i});
  }
  std::sort(sorted.begin(), sorted.end(), Better);
  LogitsSelection selection;
  selection.Reset(v.data(), 5000);
  for (int64_t k : {1, 2, 20, 79, 80, 500, 4997, 4998, 5000}) {
    std::vector<Candidate> best;
    selection.Best(k, &best);
    ASSERT_EQ(best.size(), std::min<size_t>(k, sorted.size()));
    for (size_t i = 0; i < best.size(); ++i) ASSERT_EQ(best[i].token_id, sorted[i].token_id) << k;
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
