// What a sequence tells the sampler, and that one which goes on in another place tells the same.
#include "worker/engine/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

namespace quartet::engine {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);
constexpr int64_t kMaxModelLen = 100;

uint64_t Seed() {
  const char* value = std::getenv("QUARTET_TEST_SEED");
  return value == nullptr ? 1 : std::strtoull(value, nullptr, 10);
}

void ExpectSameRow(const kernels::SampleRow& got, const kernels::SampleRow& want) {
  EXPECT_EQ(got.seed, want.seed);
  EXPECT_EQ(got.choice_index, want.choice_index);
  EXPECT_EQ(got.output_index, want.output_index);
  EXPECT_EQ(got.temperature, want.temperature);
  EXPECT_EQ(got.repetition_penalty, want.repetition_penalty);
  EXPECT_EQ(got.num_logprobs, want.num_logprobs);
  EXPECT_TRUE(std::equal(got.banned_ids.begin(), got.banned_ids.end(), want.banned_ids.begin(),
                         want.banned_ids.end()));
  ASSERT_EQ(got.counts.size(), want.counts.size());
  for (size_t i = 0; i < got.counts.size(); ++i) {
    EXPECT_EQ(got.counts[i].token_id, want.counts[i].token_id);
    EXPECT_EQ(got.counts[i].output_count, want.counts[i].output_count);
  }
}

TEST(SequenceTest, AResumedSequenceSamplesAndEndsLikeTheOneThatWentOn) {
  std::mt19937_64 random(Seed());
  SCOPED_TRACE(testing::Message() << "QUARTET_TEST_SEED=" << Seed());
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  int ended = 0;
  for (int round = 0; round < 300; ++round) {
    SequenceRequest request;
    request.prompt_ids.resize(pick(1, 20));
    for (int32_t& id : request.prompt_ids) id = static_cast<int32_t>(pick(0, 9));
    request.choice_index = static_cast<uint32_t>(pick(0, 5));
    request.sampling.seed = random();
    request.sampling.max_tokens = pick(1, 100);
    request.sampling.min_tokens = pick(0, std::min<int64_t>(20, request.sampling.max_tokens));
    request.sampling.stop_token_ids = {static_cast<int32_t>(pick(0, 30))};
    request.eos_token_ids = {3};
    if (pick(0, 1) == 0) request.sampling.repetition_penalty = 1.1f;
    Sequence whole(request, kStart);
    FinishReason reason = FinishReason::kNone;
    while (reason == FinishReason::kNone) {
      // Prompt and output apart, as a gateway hands them to another group.
      SequenceRequest again = request;
      again.attempt = 1;
      again.output_ids.assign(whole.tokens().begin() + whole.num_prompt_tokens(),
                              whole.tokens().end());
      Sequence resumed(again, kStart + absl::Seconds(7));
      EXPECT_EQ(resumed.tokens(), whole.tokens());
      EXPECT_EQ(resumed.num_output_tokens(), whole.num_output_tokens());
      ExpectSameRow(resumed.NextSampleRow(0), whole.NextSampleRow(0));
      const int32_t token = static_cast<int32_t>(pick(0, 30));
      whole.num_pending_samples = resumed.num_pending_samples = 1;
      reason = whole.AppendOutput(token, kMaxModelLen);
      EXPECT_EQ(resumed.AppendOutput(token, kMaxModelLen), reason);
      if (testing::Test::HasFailure()) return;
    }
    ++ended;
  }
  EXPECT_EQ(ended, 300);
}

TEST(SequenceTest, TheOutputIndexCountsOutputAlone) {
  SequenceRequest request;
  request.prompt_ids = {4, 5, 6};
  request.output_ids = {7, 8};
  request.sampling.seed = 11;
  request.sampling.max_tokens = 10;
  request.choice_index = 2;
  Sequence sequence(request, kStart);
  for (uint32_t index = 2; index < 5; ++index) {
    const kernels::SampleRow row = sequence.NextSampleRow(/*logits_row=*/17);
    EXPECT_EQ(row.output_index, index);
    EXPECT_EQ(row.seed, 11u);
    EXPECT_EQ(row.choice_index, 2u);
    sequence.num_computed_tokens = index;  // how far the cache reaches doesn't matter
    sequence.num_preemptions += 1;
    EXPECT_EQ(sequence.NextSampleRow(0).output_index, index);
    sequence.num_pending_samples = 1;
    sequence.AppendOutput(9, kMaxModelLen);
  }
}

}  // namespace
}  // namespace quartet::engine
