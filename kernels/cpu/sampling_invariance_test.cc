// A sampled token and its log-probabilities depend on the row alone, bit by bit, and its random
// number on (seed, choice index, output index) alone. QUARTET_TEST_SEED gives other rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "kernels/cpu/sampling.h"
#include "kernels/philox.h"

namespace quartet::kernels::cpu {
namespace {

uint64_t Seed() {
  const char* value = std::getenv("QUARTET_TEST_SEED");
  return value == nullptr ? 1 : std::strtoull(value, nullptr, 10);
}

// What a row's spans point to.
struct RowData {
  SampleRow row;
  std::vector<float> logits;
  std::vector<LogitBias> logit_bias;
  std::vector<TokenCount> counts;
  std::vector<int32_t> banned_ids;
  std::vector<uint32_t> allowed_mask;
};

class SamplingInvarianceTest : public ::testing::Test {
 protected:
  int64_t Pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(random_); }

  // Different ids in any order.
  std::vector<int32_t> RandomIds(int64_t count, int64_t vocab_size) {
    std::vector<int32_t> ids(vocab_size);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random_);
    ids.resize(std::min(count, vocab_size));
    return ids;
  }

  RowData RandomRow(int64_t vocab_size) {
    RowData data;
    // Coarse values, so that there are ties.
    std::normal_distribution<float> normal(0, static_cast<float>(Pick(1, 4)));
    const bool coarse = Chance(0.3);
    for (int64_t i = 0; i < vocab_size; ++i) {
      const float value = normal(random_);
      data.logits.push_back(coarse ? std::round(value) : value);
    }
    SampleRow& row = data.row;
    row.temperature = Chance(0.2) ? 0.0f : static_cast<float>(Pick(1, 20)) * 0.1f;
    row.top_p = Chance(0.5) ? 1.0f : static_cast<float>(Pick(1, 99)) * 0.01f;
    row.top_k = Chance(0.5) ? 0 : static_cast<int32_t>(Pick(1, 50));
    row.min_p = Chance(0.6) ? 0.0f : static_cast<float>(Pick(1, 30)) * 0.01f;
    row.seed = random_();
    row.choice_index = static_cast<uint32_t>(Pick(0, 7));
    row.output_index = static_cast<uint32_t>(Pick(0, 5000));
    row.num_logprobs = static_cast<int32_t>(Pick(-1, 6));
    if (Chance(0.4)) {
      row.repetition_penalty = 1.3f;
      row.presence_penalty = 0.4f;
      row.frequency_penalty = -0.2f;
      for (int32_t id : RandomIds(Pick(0, 40), vocab_size)) {
        data.counts.push_back({id, static_cast<int32_t>(Pick(0, 3))});
      }
    }
    if (Chance(0.3)) {
      for (int32_t id : RandomIds(Pick(1, 5), vocab_size)) data.logit_bias.push_back({id, 1.5f});
    }
    if (Chance(0.3)) data.banned_ids = RandomIds(std::min<int64_t>(3, vocab_size - 1), vocab_size);
    if (Chance(0.2)) {
      data.allowed_mask.assign((vocab_size + 31) / 32, 0);
      for (uint32_t& word : data.allowed_mask) word = static_cast<uint32_t>(random_());
    }
    if (Chance(0.3)) row.sample_limit = static_cast<int32_t>(Pick(1, vocab_size));
    if (Chance(0.1)) row.forced_token_id = static_cast<int32_t>(Pick(0, vocab_size - 1));
    return data;
  }

  // The row, with what it points to, at `logits_row` of a batch.
  static SampleRow RowAt(const RowData& data, int64_t logits_row) {
    SampleRow row = data.row;
    row.logits_row = logits_row;
    row.logit_bias = data.logit_bias;
    row.counts = data.counts;
    row.banned_ids = data.banned_ids;
    row.allowed_mask = data.allowed_mask;
    return row;
  }

  static void ExpectSame(const SampledToken& got, const SampledToken& want) {
    const auto expect_same = [](const TokenLogprob& a, const TokenLogprob& b) {
      EXPECT_EQ(a.token_id, b.token_id);
      EXPECT_EQ(a.rank, b.rank);
      EXPECT_EQ(std::bit_cast<uint32_t>(a.logprob), std::bit_cast<uint32_t>(b.logprob));
    };
    EXPECT_EQ(got.token_id, want.token_id);
    EXPECT_EQ(got.has_logprobs, want.has_logprobs);
    expect_same(got.logprob, want.logprob);
    ASSERT_EQ(got.top.size(), want.top.size());
    for (size_t i = 0; i < got.top.size(); ++i) expect_same(got.top[i], want.top[i]);
  }

  std::mt19937_64 random_{Seed()};
};

TEST_F(SamplingInvarianceTest, ARowGivesTheSameBitsAloneAndInAnyBatch) {
  SCOPED_TRACE(::testing::Message() << "QUARTET_TEST_SEED=" << Seed());
  for (int round = 0; round < 300; ++round) {
    const int64_t vocab_size = Pick(2, round % 20 == 0 ? 6000 : 600);
    std::vector<RowData> rows(Pick(1, 40));
    std::vector<SampledToken> alone;
    for (RowData& data : rows) {
      data = RandomRow(vocab_size);
      const SampleRow row = RowAt(data, 0);
      std::vector<SampledToken> out;
      ASSERT_TRUE(
          Sample(data.logits.data(), vocab_size, vocab_size, {&row, 1}, nullptr, &out).ok());
      alone.push_back(out.at(0));
    }
    // Any order, and the counts of a sequence in any order too: it may have been resumed.
    std::vector<size_t> order(rows.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    std::vector<float> logits;
    std::vector<SampleRow> batch;
    for (size_t i : order) {
      std::shuffle(rows[i].counts.begin(), rows[i].counts.end(), random_);
      batch.push_back(RowAt(rows[i], static_cast<int64_t>(batch.size())));
      logits.insert(logits.end(), rows[i].logits.begin(), rows[i].logits.end());
    }
    ThreadPool pool(static_cast<int>(Pick(1, 3)));
    std::vector<SampledToken> together;
    ASSERT_TRUE(Sample(logits.data(), vocab_size, vocab_size, batch, &pool, &together).ok());
    for (size_t i = 0; i < order.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "round " << round << " row " << order[i]);
      ExpectSame(together[i], alone[order[i]]);
    }
    if (HasFailure()) return;
  }
}

TEST_F(SamplingInvarianceTest, TheRandomNumberIsAFunctionOfSeedChoiceAndOutputIndex) {
  SCOPED_TRACE(::testing::Message() << "QUARTET_TEST_SEED=" << Seed());
  constexpr int64_t kVocabulary = 4096;
  constexpr int kRows = 200;
  const std::vector<float> flat(kVocabulary * 3, 0.25f);
  std::vector<SampleRow> rows(kRows);
  for (SampleRow& row : rows) {
    row.logits_row = Pick(0, 2);
    row.temperature = static_cast<float>(Pick(1, 20)) * 0.1f;
    row.top_k = Chance(0.5) ? 0 : static_cast<int32_t>(kVocabulary);
    row.seed = Chance(0.5) ? random_() : static_cast<uint64_t>(Pick(0, 3));
    row.choice_index = static_cast<uint32_t>(Pick(0, 3));
    row.output_index = static_cast<uint32_t>(Pick(0, 100));
  }
  ThreadPool pool(3);
  std::vector<SampledToken> out;
  ASSERT_TRUE(Sample(flat.data(), kVocabulary, kVocabulary, rows, &pool, &out).ok());
  for (int i = 0; i < kRows; ++i) {
    // All tokens are equally likely, so the token tells the number that was drawn.
    const double uniform =
        SamplingUniform(rows[i].seed, rows[i].choice_index, rows[i].output_index);
    EXPECT_NEAR(out[i].token_id, std::floor(uniform * kVocabulary), 1) << "row " << i;
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
