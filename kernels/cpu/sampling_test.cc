// The sampler against naive loops in double, and the distribution of what it draws.
#include "kernels/cpu/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace quartet::kernels::cpu {
namespace {

constexpr uint32_t kSeed = 20240611;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(int64_t count, uint32_t seed, float scale = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> logits(count);
  for (float& value : logits) value = normal(random);
  return logits;
}

SampledToken SampleRowOf(const std::vector<float>& logits, const SampleRow& row) {
  std::vector<SampledToken> out;
  const int64_t size = static_cast<int64_t>(logits.size());
  EXPECT_TRUE(Sample(logits.data(), size, size, {&row, 1}, nullptr, &out).ok());
  return out.at(0);
}

// Probabilities of every token by the definition, in double: adjust, then min_p, top_k, top_p.
std::vector<double> NaiveProbabilities(const std::vector<float>& logits, const SampleRow& row) {
  const size_t n = logits.size();
  std::vector<double> v(logits.begin(), logits.end());
  for (int32_t id : row.banned_ids) v[id] = -kInfinity;
  for (const LogitBias& bias : row.logit_bias) v[bias.token_id] += bias.bias;
  for (const TokenCount& count : row.counts) {
    double& value = v[count.token_id];
    value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
    value -= row.frequency_penalty * static_cast<double>(count.output_count);
    if (count.output_count > 0) value -= row.presence_penalty;
  }
  std::vector<size_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return v[a] > v[b]; });
  std::vector<double> p(n, 0.0);
  const double best = v[order[0]];
  for (size_t i = 0; i < n; ++i) {
    const double weight = std::exp((v[order[i]] - best) / row.temperature);
    if (weight < row.min_p) continue;
    if (row.top_k > 0 && static_cast<int64_t>(i) >= row.top_k) continue;
    p[order[i]] = weight;
  }
  double sum = 0;
  for (double x : p) sum += x;
  double kept = 0;
  for (size_t id : order) {
    if (kept >= row.top_p * sum) p[id] = 0;
    kept += p[id];
  }
  sum = 0;
  for (double x : p) sum += x;
  for (double& x : p) x /= sum;
  return p;
}

// Draws many times and compares with NaiveProbabilities by chi-square; rare tokens are pooled.
void ExpectDistribution(const std::vector<float>& logits, SampleRow row, int draws = 20000) {
  const std::vector<double> p = NaiveProbabilities(logits, row);
  std::vector<SampleRow> rows(draws, row);
  for (int i = 0; i < draws; ++i) {
    rows[i].seed = kSeed;
    rows[i].output_index = static_cast<uint32_t>(i);
  }
  std::vector<SampledToken> out;
  const int64_t size = static_cast<int64_t>(logits.size());
  ASSERT_TRUE(Sample(logits.data(), size, size, rows, nullptr, &out).ok());
  std::vector<int> seen(logits.size(), 0);
  for (const SampledToken& token : out) ++seen[token.token_id];
  double chi2 = 0, pooled_expected = 0, pooled_seen = 0;
  int cells = 0;
  for (size_t id = 0; id < p.size(); ++id) {
    if (p[id] == 0) {
      EXPECT_EQ(seen[id], 0) << "token " << id << " is cut off but was drawn";
    } else if (p[id] * draws < 8) {
      pooled_expected += p[id] * draws;
      pooled_seen += seen[id];
    } else {
      chi2 += std::pow(seen[id] - p[id] * draws, 2) / (p[id] * draws);
      ++cells;
    }
  }
  if (pooled_expected > 8) {
    chi2 += std::pow(pooled_seen - pooled_expected, 2) / pooled_expected;
    ++cells;
  }
  const double degrees = std::max(1, cells - 1);
  // Five standard deviations of a chi-square distribution.
  EXPECT_LT(chi2, degrees + 5 * std::sqrt(2 * degrees)) << "seed " << kSeed;
}

TEST(SamplingTest, GreedyTakesTheLowestIdOnATie) {
  std::vector<float> logits(1000, -1.0f);
  logits[130] = logits[131] = logits[900] = 4.0f;
  SampleRow row;
  row.temperature = 0;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 130);
}

TEST(SamplingTest, IdsPastTheLimitAreNeverSampled) {
  std::vector<float> logits = RandomLogits(300, kSeed);
  for (int i = 200; i < 300; ++i) logits[i] = 50;
  std::vector<SampleRow> rows(400);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].temperature = i % 4 == 0 ? 0.0f : 5.0f;
    rows[i].top_k = i % 4 == 1 ? 250 : 0;
    rows[i].top_p = i % 4 == 2 ? 0.9f : 1.0f;
    rows[i].output_index = static_cast<uint32_t>(i);
    rows[i].num_logprobs = 5;
    if (i % 2 == 0) rows[i].sample_limit = 150;
  }
  std::vector<SampledToken> out;
  ASSERT_TRUE(Sample(logits.data(), 300, 200, rows, nullptr, &out).ok());
  for (size_t i = 0; i < out.size(); ++i) {
    const int32_t limit = i % 2 == 0 ? 150 : 200;
    ASSERT_LT(out[i].token_id, limit);
    for (const TokenLogprob& top : out[i].top) ASSERT_LT(top.token_id, limit);
  }
  EXPECT_FALSE(Sample(logits.data(), 300, 301, rows, nullptr, &out).ok());
}

TEST(SamplingTest, DrawsFollowTheSoftmax) {
  const std::vector<float> logits = RandomLogits(200, kSeed, 2);
  for (float temperature : {0.3f, 1.0f, 2.5f}) {
    SampleRow row;
    row.temperature = temperature;
    ExpectDistribution(logits, row);
  }
}

TEST(SamplingTest, DrawsFollowTheCutDistribution) {
  const std::vector<float> logits = RandomLogits(3000, kSeed, 2);
  struct Case {
    float temperature, min_p, top_p;
    int32_t top_k;
  };
  for (const Case& c : {Case{1, 0, 1, 12}, Case{0.7f, 0, 0.8f, 20}, Case{1, 0.1f, 1, 0},
                        Case{1.5f, 0, 0.3f, 0}, Case{1, 0.05f, 0.9f, 30}, Case{1, 0.02f, 0.7f, 0},
                        Case{3, 0, 0.95f, 0}, Case{0.9f, 0, 1, 1000}}) {
    SCOPED_TRACE(testing::Message()
                 << c.temperature << " " << c.min_p << " " << c.top_p << " " << c.top_k);
    SampleRow row;
    row.temperature = c.temperature;
    row.min_p = c.min_p;
    row.top_p = c.top_p;
    row.top_k = c.top_k;
    ExpectDistribution(logits, row, 4000);
  }
}

TEST(SamplingTest, PenaltiesAndBiasShiftTheDistributionAsDefined) {
  const std::vector<float> logits = RandomLogits(64, kSeed, 1.5f);
  std::vector<TokenCount> counts;
  for (int32_t id = 0; id < 40; id += 3) counts.push_back({id, id % 5});
  const std::vector<LogitBias> bias = {{1, 2.5f}, {3, -1.0f}, {9, 4.0f}};
  SampleRow row;
  row.counts = counts;
  row.logit_bias = bias;
  row.repetition_penalty = 1.3f;
  row.presence_penalty = 0.6f;
  row.frequency_penalty = -0.4f;
  ExpectDistribution(logits, row);
  row.temperature = 0.6f;
  row.top_p = 0.85f;
  ExpectDistribution(logits, row);
}

TEST(SamplingTest, ARepetitionPenaltyMakesNegativeLogitsSmaller) {
  const std::vector<float> logits = {-1.0f, -1.5f, -8.0f};
  const std::vector<TokenCount> counts = {{0, 0}};
  SampleRow row;
  row.temperature = 0;
  row.counts = counts;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 0);
  row.repetition_penalty = 2;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 1);
  // Frequency and presence count output only.
  row.repetition_penalty = 1;
  row.presence_penalty = 2;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 0);
}

TEST(SamplingTest, ExtremeBiasForbidsAndForces) {
  const std::vector<float> logits = RandomLogits(1000, kSeed);
  const std::vector<LogitBias> bias = {{77, 100.0f}};
  std::vector<LogitBias> forbid;
  for (int32_t id = 0; id < 990; ++id) forbid.push_back({id, -100.0f});
  for (uint32_t i = 0; i < 200; ++i) {
    SampleRow row;
    row.output_index = i;
    row.logit_bias = bias;
    EXPECT_EQ(SampleRowOf(logits, row).token_id, 77);
    row.logit_bias = forbid;
    EXPECT_GE(SampleRowOf(logits, row).token_id, 990);
  }
}

TEST(SamplingTest, BannedAndDisallowedIdsAreNotSampled) {
  const std::vector<float> logits = {5, 4, 3, 2, 1};
  const std::vector<int32_t> banned = {0, 1};
  const std::vector<uint32_t> mask = {0b10011};
  SampleRow row;
  row.temperature = 0;
  row.banned_ids = banned;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 2);
  row.allowed_mask = mask;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 4);
  const std::vector<uint32_t> nothing = {0b00011};
  row.allowed_mask = nothing;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, -1);
}

TEST(SamplingTest, LogitsThatAreNotNumbersGiveNoToken) {
  SampleRow row;
  row.num_logprobs = 2;
  for (float temperature : {0.0f, 1.0f}) {
    row.temperature = temperature;
    EXPECT_EQ(SampleRowOf(std::vector<float>(70, std::nanf("")), row).token_id, -1);
  }
  std::vector<float> logits(70, std::nanf(""));
  logits[66] = 1;
  EXPECT_EQ(SampleRowOf(logits, row).token_id, 66);
}

TEST(SamplingTest, TopPEdges) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {std::log(4.0f), std::log(2.0f), 0.0f, 0.0f};
  const auto largest_drawn = [&](float top_p, int32_t top_k) {
    int32_t largest = 0;
    for (uint32_t i = 0; i < 500; ++i) {
      SampleRow row;
      row.top_p = top_p;
      row.top_k = top_k;
      row.output_index = i;
      largest = std::max(largest, SampleRowOf(logits, row).token_id);
    }
    return largest;
  };
  EXPECT_EQ(largest_drawn(1e-9f, 0), 0);
  EXPECT_EQ(largest_drawn(0.45f, 0), 0);
  EXPECT_EQ(largest_drawn(0.55f, 0), 1);
  EXPECT_EQ(largest_drawn(0.80f, 0), 2);  // the lower id of the two that tie
  EXPECT_EQ(largest_drawn(0.90f, 0), 3);
  EXPECT_EQ(largest_drawn(1.0f, 0), 3);
  // top_p counts what top_k left: of 0.5 and 0.25 the first is 2 / 3.
  EXPECT_EQ(largest_drawn(0.60f, 2), 0);
  EXPECT_EQ(largest_drawn(0.70f, 2), 1);
}

TEST(SamplingTest, AFlatRowUnderTopPKeepsTheRightShare) {
  const int64_t n = 40000;
  const std::vector<float> logits(n, 0.25f);
  SampleRow row;
  row.top_p = 0.5f;
  int32_t largest = 0;
  for (uint32_t i = 0; i < 300; ++i) {
    row.output_index = i;
    largest = std::max(largest, SampleRowOf(logits, row).token_id);
  }
  EXPECT_LT(largest, n / 2);
  EXPECT_GT(largest, n / 2 - n / 40);
}

TEST(SamplingTest, LogprobsAreOfTheRawLogits) {
  const std::vector<float> logits = RandomLogits(5000, kSeed);
  std::vector<int> order(5000);
  for (int i = 0; i < 5000; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  double sum = 0;
  for (float x : logits) sum += std::exp(static_cast<double>(x));
  const std::vector<LogitBias> bias = {{order[10], 100.0f}};
  SampleRow row;
  row.temperature = 0.5f;
  row.logit_bias = bias;
  row.num_logprobs = 20;
  const SampledToken token = SampleRowOf(logits, row);
  ASSERT_EQ(token.token_id, order[10]);
  ASSERT_TRUE(token.has_logprobs);
  EXPECT_EQ(token.logprob.rank, 11);
  EXPECT_NEAR(token.logprob.logprob, logits[order[10]] - std::log(sum), 1e-4);
  ASSERT_EQ(token.top.size(), 20u);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(token.top[i].token_id, order[i]);
    EXPECT_EQ(token.top[i].rank, i + 1);
    EXPECT_NEAR(token.top[i].logprob, logits[order[i]] - std::log(sum), 1e-4);
  }
  row.forced_token_id = order[4000];
  row.num_logprobs = 0;
  const SampledToken forced = SampleRowOf(logits, row);
  EXPECT_EQ(forced.token_id, order[4000]);
  EXPECT_EQ(forced.logprob.rank, 4001);
  EXPECT_TRUE(forced.top.empty());
}

TEST(SamplingTest, ARowsTokenDependsOnTheRowAlone) {
  const int64_t vocab = 2000;
  const int num_rows = 24;
  std::vector<float> logits = RandomLogits(vocab * num_rows, kSeed);
  std::vector<SampleRow> rows(num_rows);
  for (int i = 0; i < num_rows; ++i) {
    rows[i].logits_row = num_rows - 1 - i;
    rows[i].seed = 7u + i;
    rows[i].temperature = i % 3 == 0 ? 0.0f : 1.0f;
    rows[i].top_p = i % 5 == 0 ? 0.9f : 1.0f;
    rows[i].top_k = i % 7 == 0 ? 40 : 0;
  }
  std::vector<SampledToken> together;
  ThreadPool pool(2);
  ASSERT_TRUE(Sample(logits.data(), vocab, vocab, rows, &pool, &together).ok());
  for (int i = 0; i < num_rows; ++i) {
    std::vector<SampledToken> alone;
    ASSERT_TRUE(Sample(logits.data(), vocab, vocab, {&rows[i], 1}, nullptr, &alone).ok());
    EXPECT_EQ(alone[0].token_id, together[i].token_id);
  }
}

TEST(SamplingTest, SeedChoiceAndIndexEachChangeTheDraw) {
  const std::vector<float> logits(4096, 0.0f);
  const auto draw = [&](uint64_t seed, uint32_t choice, uint32_t index) {
    SampleRow row;
    row.seed = seed;
    row.choice_index = choice;
    row.output_index = index;
    return SampleRowOf(logits, row).token_id;
  };
  const int32_t base = draw(1, 0, 0);
  EXPECT_EQ(base, draw(1, 0, 0));
  EXPECT_NE(base, draw(1 + (uint64_t{1} << 32), 0, 0));
  EXPECT_NE(base, draw(2, 0, 0));
  EXPECT_NE(base, draw(1, 1, 0));
  EXPECT_NE(base, draw(1, 0, 1));
}

}  // namespace
}  // namespace quartet::kernels::cpu
