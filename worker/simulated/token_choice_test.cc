#include "worker/simulated/token_choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace quartet::simulated {
namespace {

constexpr int32_t kLimit = 151665;
constexpr int32_t kEos = 151645;
const TokenSpace kSpace = {152064, {kEos}};

kernels::SampleRow Row() {
  kernels::SampleRow row;
  row.sample_limit = kLimit;
  return row;
}

TEST(TokenChoiceTest, MostTokensAreWordsAndFewEndTheText) {
  int num_eos = 0, num_bytes = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const int32_t id = ChooseToken(kSpace, Mix(i), Row()).token_id;
    ASSERT_GE(id, 0);
    ASSERT_LT(id, kLimit);
    if (id == kEos) ++num_eos;
    if (id < 256) ++num_bytes;
    EXPECT_TRUE(id == kEos || id < 151643) << "special: " << id;
  }
  EXPECT_NEAR(num_eos, 20000 / 512.0, 20);
  EXPECT_EQ(num_bytes, 0);
}

TEST(TokenChoiceTest, GreedyDependsOnTheHashAloneAndSamplingOnSeedAndIndex) {
  kernels::SampleRow greedy = Row();
  greedy.temperature = 0;
  kernels::SampleRow other = greedy;
  other.seed = 7;
  other.output_index = 3;
  std::set<int32_t> sampled;
  for (uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(ChooseToken(kSpace, i, greedy).token_id, ChooseToken(kSpace, i, other).token_id);
    kernels::SampleRow row = Row();
    row.seed = i;
    sampled.insert(ChooseToken(kSpace, 1, row).token_id);
    row.seed = 0;
    row.output_index = static_cast<uint32_t>(i);
    sampled.insert(ChooseToken(kSpace, 1, row).token_id);
    row.output_index = 0;
    row.choice_index = static_cast<uint32_t>(i);
    sampled.insert(ChooseToken(kSpace, 1, row).token_id);
  }
  EXPECT_GT(sampled.size(), 100u);
}

TEST(TokenChoiceTest, BannedIdsAndForbiddenBiasesAreNeverChosen) {
  const std::vector<int32_t> banned = {kEos};
  const TokenSpace small = {4, {1}};
  const std::vector<int32_t> small_banned = {1, 2};
  const std::vector<kernels::LogitBias> bias = {{0, -100}};
  for (uint64_t i = 0; i < 5000; ++i) {
    kernels::SampleRow row = Row();
    row.banned_ids = banned;
    EXPECT_NE(ChooseToken(kSpace, Mix(i), row).token_id, kEos);
    row = kernels::SampleRow();
    row.banned_ids = small_banned;
    row.logit_bias = bias;
    EXPECT_EQ(ChooseToken(small, Mix(i), row).token_id, 3);
  }
}

TEST(TokenChoiceTest, MasksForcedIdsAndForcingBiasesDecide) {
  std::vector<uint32_t> mask(4753);
  mask[100] = 1u << 5;
  kernels::SampleRow row = Row();
  row.allowed_mask = mask;
  EXPECT_EQ(ChooseToken(kSpace, 9, row).token_id, 3205);
  mask[100] = 0;
  EXPECT_EQ(ChooseToken(kSpace, 9, row).token_id, -1);
  const std::vector<kernels::LogitBias> bias = {{900, 60}, {800, 100}, {700, 100}};
  row = Row();
  row.logit_bias = bias;
  EXPECT_EQ(ChooseToken(kSpace, 9, row).token_id, 700);
  row = Row();
  row.forced_token_id = 1234;
  EXPECT_EQ(ChooseToken(kSpace, 9, row).token_id, 1234);
}

TEST(TokenChoiceTest, LogprobsAreFiniteDistinctAndFalling) {
  for (const int64_t vocab_size : {int64_t{5}, int64_t{300}, int64_t{152064}}) {
    const TokenSpace space = {vocab_size, {}};
    for (uint64_t i = 0; i < 200; ++i) {
      kernels::SampleRow row;
      row.num_logprobs = 20;
      const kernels::SampledToken token = ChooseToken(space, Mix(i), row);
      ASSERT_TRUE(token.has_logprobs);
      ASSERT_EQ(token.top.size(), static_cast<size_t>(std::min<int64_t>(20, vocab_size)));
      std::set<int32_t> ids;
      double sum = 0;
      for (size_t k = 0; k < token.top.size(); ++k) {
        ids.insert(token.top[k].token_id);
        EXPECT_EQ(token.top[k].rank, static_cast<int32_t>(k) + 1);
        sum += std::exp(token.top[k].logprob);
        if (token.top[k].token_id == token.token_id) {
          EXPECT_EQ(token.top[k].logprob, token.logprob.logprob);
        }
      }
      EXPECT_EQ(ids.size(), token.top.size());
      EXPECT_TRUE(ids.count(token.token_id));
      EXPECT_LT(sum, 1);
    }
  }
}

}  // namespace
}  // namespace quartet::simulated
