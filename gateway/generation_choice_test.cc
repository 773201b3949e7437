// Which answers are reported and where they end: best_of, stops that are shown, repetition, beams.
#include "gateway/fingerprint.h"
#include "gateway/generation.h"
#include "gateway/repetition.h"
#include "gateway/testing/generation_fixture.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::GenerationTest;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kToyEnd;
using testing::RecordingSink;
using ::testing::SizeIs;

// A position at which the first of `top` was taken.
PositionLogprobs Position(std::vector<std::pair<uint32_t, float>> top) {
  PositionLogprobs position;
  for (const auto& [id, logprob] : top) {
    TokenLogprob& token = position.top.emplace_back();
    token.token_id = id;
    token.logprob = logprob;
  }
  position.token = position.top.front();
  return position;
}

class GenerationChoiceTest : public GenerationTest {
 protected:
  // Ends the sequence of `submissions[i]` with one step.
  void FinishOne(size_t i, TokenIds ids, std::vector<PositionLogprobs> logprobs,
                 FinishReason reason = FinishReason::kLength,
                 std::optional<uint32_t> stop_id = std::nullopt) {
    SequenceNews news = News(group_.submissions[i], std::move(ids));
    news.logprobs = std::move(logprobs);
    news.finish_reason = reason;
    news.stop_token_id = stop_id;
    Step(group_, std::move(news));
  }
};

TEST_F(GenerationChoiceTest, BestOfReportsTheLikeliestByMeanLogprob) {
  GenerationRequest request = Request("x");
  request.n = 2;
  request.best_of = 3;
  const auto sink = Generate(std::move(request));
  ASSERT_THAT(group_.submissions, SizeIs(3));
  EXPECT_EQ(group_.submissions[0].sampling.logprobs, 0u);
  FinishOne(0, {'a'}, {Position({{'a', -2.0f}})});
  FinishOne(1, {'b', 'b'}, {Position({{'b', -1.5f}}), Position({{'b', -1.5f}})});
  EXPECT_EQ(sink->Text(), "") << "the best are known at the end";
  FinishOne(2, {'c'}, {Position({{'c', -1.0f}})}, FinishReason::kStop);
  EXPECT_EQ(sink->Text(0), "c");
  EXPECT_EQ(sink->Text(1), "bb") << "a mean of -1.5, though a sum of -3";
  EXPECT_THAT(sink->All<FinishedEvent>(), SizeIs(2));
  EXPECT_EQ(sink->All<FinishedEvent>()[0].reason, FinishReason::kStop);
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 4u) << "of all answers";
  for (const DeltaEvent& delta : sink->All<DeltaEvent>()) {
    EXPECT_FALSE(delta.tokens[0].logprobs.has_value()) << "not asked for";
  }
}

TEST_F(GenerationChoiceTest, AStopStringIsShownOnDemand) {
  GenerationRequest request = Request("x");
  request.stop = {"END"};
  request.include_stop_in_output = true;
  const auto sink = Generate(std::move(request));
  Tokens({'a', 'E', 'N', 'D', 'z'});
  EXPECT_EQ(sink->Text(), "aEND");
  EXPECT_THAT(sink->Ids(), ElementsAre('a', 'E', 'N', 'D'));
  const DeltaEvent last = sink->All<DeltaEvent>().back();
  for (const OutputToken& token : last.tokens) EXPECT_FALSE(token.hidden);
  EXPECT_EQ(sink->All<FinishedEvent>()[0].stop_string, "END");
}

TEST_F(GenerationChoiceTest, AStopIdIsShownOnDemand) {
  for (const bool include : {false, true}) {
    GenerationRequest request = Request("x");
    request.include_stop_in_output = include;
    const auto sink = Generate(std::move(request));
    Finish({'a', 'z'}, FinishReason::kStop, 'z');
    EXPECT_EQ(sink->Text(), include ? "az" : "a");
  }
}

TEST_F(GenerationChoiceTest, AnAnswerThatGoesRoundInCirclesEnds) {
  GenerationRequest request = Request("x");
  request.repetition_detection = {1, 2, 3};
  const auto sink = Generate(std::move(request));
  Tokens({'q', 'a', 'b', 'a'});
  Tokens({'b', 'a', 'b', 'a', 'b'});
  EXPECT_EQ(sink->Text(), "qababab");
  ASSERT_THAT(sink->All<FinishedEvent>(), SizeIs(1));
  EXPECT_TRUE(sink->All<FinishedEvent>()[0].repetition);
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 7u);
  EXPECT_THAT(group_.cancelled, SizeIs(1)) << "the group is told";
}

TEST(RepetitionTest, FindsTheFirstAndNoOther) {
  const RepetitionDetection detection{1, 3, 2};
  EXPECT_EQ(FirstRepetition({1, 2, 3, 1, 2}, 0, detection), 0u);
  EXPECT_EQ(FirstRepetition({1, 2, 3, 1, 2, 3}, 0, detection), 6u);
  EXPECT_EQ(FirstRepetition({5, 5, 1, 1}, 0, detection), 2u);
  EXPECT_EQ(FirstRepetition({5, 5, 1, 1}, 2, detection), 4u) << "the first two are known";
  EXPECT_EQ(FirstRepetition({}, 0, detection), 0u);
}

TEST_F(GenerationChoiceTest, TheFingerprintIsOfWeightsAndArithmetic) {
  const auto fingerprint = [&] {
    const auto sink = Generate(Request("x"));
    Finish({'a'}, FinishReason::kLength);
    return sink->All<StartedEvent>()[0].fingerprint;
  };
  const std::string first = fingerprint();
  EXPECT_EQ(first.substr(0, 3), "fp_");
  EXPECT_EQ(fingerprint(), first);
  group_.mutable_info().numerics_id = "numerics-2";
  EXPECT_NE(fingerprint(), first);
  EXPECT_EQ(Fingerprint({}), "");
}

class BeamSearchTest : public GenerationChoiceTest {
 protected:
  GenerationRequest Beams(uint32_t n, uint32_t max_tokens) {
    GenerationRequest request = Request("x", max_tokens);
    request.use_beam_search = true;
    request.n = n;
    return request;
  }
};

// After "a" (the likelier first token) all is unlikely; after "b" one token is nearly sure.
TEST_F(BeamSearchTest, FindsWhatGreedyMisses) {
  const auto sink = Generate(Beams(2, 2));
  ASSERT_THAT(group_.submissions, SizeIs(1)) << "one beam before the first token";
  EXPECT_EQ(group_.submissions[0].sampling.logprobs, 4u);
  EXPECT_EQ(group_.submissions[0].sampling.max_tokens, 1u);
  FinishOne(0, {'a'}, {Position({{'a', -0.5f}, {'b', -1.0f}, {'c', -4.0f}, {'d', -5.0f}})});
  ASSERT_THAT(group_.submissions, SizeIs(3));
  EXPECT_THAT(group_.submissions[1].output_ids, ElementsAre('a'));
  EXPECT_THAT(group_.submissions[2].output_ids, ElementsAre('b'));
  EXPECT_EQ(group_.submissions[2].sampling.max_tokens, 2u);
  FinishOne(2, {'y'}, {Position({{'y', -0.1f}, {'z', -3.0f}})});
  FinishOne(1, {'p'}, {Position({{'p', -1.5f}, {'q', -1.6f}})});
  EXPECT_EQ(sink->Text(0), "by");
  EXPECT_EQ(sink->Text(1), "ap");
  ASSERT_THAT(sink->All<FinishedEvent>(), SizeIs(2));
  EXPECT_EQ(sink->All<FinishedEvent>()[0].reason, FinishReason::kLength);
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 4u);
}

TEST_F(BeamSearchTest, AnEndCompletesAnswersAndTheSearchStopsWhenNothingCanBeBetter) {
  GenerationRequest request = Beams(1, 50);
  request.sampling.logprobs = 1;
  const auto sink = Generate(std::move(request));
  FinishOne(0, {'a'}, {Position({{'a', -0.1f}, {'b', -3.0f}})});
  // The end is so likely that no longer answer can have a better mean.
  FinishOne(1, {kToyEnd}, {Position({{kToyEnd, -0.01f}, {'c', -30.0f}})});
  EXPECT_EQ(sink->Text(), "a");
  EXPECT_THAT(sink->Ids(), ElementsAre('a', kToyEnd));
  EXPECT_EQ(sink->All<FinishedEvent>()[0].stop_token_id, kToyEnd);
  const DeltaEvent delta = sink->All<DeltaEvent>()[0];
  EXPECT_FLOAT_EQ(delta.tokens[0].logprobs->token.logprob, -0.1f);
  EXPECT_THAT(delta.tokens[0].logprobs->top, SizeIs(1));
  EXPECT_TRUE(delta.tokens[1].hidden);
}

TEST_F(BeamSearchTest, TheLengthPenaltyDecidesBetweenShortAndLong) {
  for (const float penalty : {0.0f, 2.0f}) {
    const size_t before = group_.submissions.size();
    GenerationRequest request = Beams(1, 2);
    request.length_penalty = penalty;
    const auto sink = Generate(std::move(request));
    FinishOne(before, {'a'}, {Position({{'a', -1.0f}, {kToyEnd, -1.2f}})});
    if (group_.submissions.size() > before + 1) {
      FinishOne(before + 1, {'b'}, {Position({{'b', -1.0f}, {'c', -2.0f}})});
    }
    EXPECT_EQ(sink->Text(), penalty == 0 ? "" : "ab");
    EXPECT_THAT(sink->All<UsageEvent>(), SizeIs(1));
  }
}

TEST_F(BeamSearchTest, ALostGroupCostsOnlyAPause) {
  const auto sink = Generate(Beams(2, 2));
  FinishOne(0, {'a'}, {Position({{'a', -0.5f}, {'b', -1.0f}, {'c', -4.0f}, {'d', -5.0f}})});
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.Advance(absl::Seconds(20));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
  gateway_.OnAttached(&group_);
  loop_.RunReady();
  ASSERT_THAT(group_.submissions, SizeIs(5));
  FinishOne(3, {'p'}, {Position({{'p', -1.5f}, {'q', -1.6f}})});
  FinishOne(4, {'y'}, {Position({{'y', -0.1f}, {'z', -3.0f}})});
  EXPECT_THAT(sink->All<UsageEvent>(), SizeIs(1));
  loop_.Advance(absl::Seconds(100));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty()) << "the resume timer is off";
}

TEST_F(BeamSearchTest, CancelAndAbortFreeTheBeams) {
  Generate(Beams(2, 5));
  gateway_.Cancel(handle_);
  loop_.RunReady();
  EXPECT_THAT(group_.cancelled, SizeIs(1));
  GenerationRequest request = Beams(2, 5);
  request.request_id = "beams";
  const auto sink = Generate(std::move(request));
  gateway_.Abort("beams", [](absl::Status status) { EXPECT_TRUE(status.ok()); });
  loop_.RunReady();
  EXPECT_THAT(group_.cancelled, SizeIs(2));
  EXPECT_THAT(sink->All<FinishedEvent>(), SizeIs(2));
  EXPECT_THAT(sink->All<UsageEvent>(), SizeIs(1));
}

}  // namespace
}  // namespace quartet::gateway
