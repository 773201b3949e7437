// What happens to a generation between the loss of its worker and its next token: counts, refusals,
// deadlines, clients that go.
#include "gateway/generation.h"
#include "gateway/request_error.h"
#include "gateway/testing/generation_fixture.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::FakeGroup;
using testing::GenerationTest;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RecordingSink;
using ::testing::SizeIs;

class GenerationRecoveryTest : public GenerationTest {
 protected:
  void Lose(FakeGroup& group) {
    gateway_.OnDetached(&group, absl::UnavailableError("gone"));
    loop_.RunReady();
  }
  void Attach(FakeGroup& group) {
    gateway_.OnAttached(&group);
    loop_.RunReady();
  }
  void Refuse(FakeGroup& group, absl::Status why) {
    SequenceNews news = News(group.submissions.back(), {});
    news.error = std::move(why);
    Step(group, std::move(news));
  }
  // The value of a series of the served model.
  double Metric(const std::string& name) const {
    const std::string text = metrics_.Render();
    const std::string line = "\n" + name + "{model_name=\"toy\"} ";
    const size_t at = text.find(line);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + line.size()));
  }

  FakeGroup twin_{"group-b"};
};

TEST_F(GenerationRecoveryTest, AStreamThatMovesIsCountedWithWhatItCost) {
  const auto sink = Generate(Request("xyz"));
  Tokens({'a', 'b'});
  Attach(twin_);
  Lose(group_);
  ASSERT_THAT(twin_.submissions, SizeIs(1)) << "it moves at once";
  EXPECT_EQ(Metric("quartet_sequences_resumed_total"), 1);
  EXPECT_EQ(Metric("quartet_recovery_seconds_count"), 0) << "no token yet";
  loop_.Advance(absl::Seconds(3));
  SequenceNews news = News(twin_.submissions[0], {'c'});
  news.cached_tokens = 4;  // Of xyzab.
  Step(twin_, std::move(news));
  EXPECT_EQ(Metric("quartet_recovery_seconds_count"), 1);
  EXPECT_EQ(Metric("quartet_recovery_seconds_sum"), 3);
  EXPECT_EQ(Metric("quartet_recompute_seconds_sum"), 3);
  EXPECT_EQ(Metric("quartet_recomputed_tokens_total"), 1);
  Step(twin_, News(twin_.submissions[0], {'d'}));
  EXPECT_EQ(Metric("quartet_recovery_seconds_count"), 1) << "once a loss";
  EXPECT_EQ(sink->Text(), "abcd");
}

TEST_F(GenerationRecoveryTest, UsageTellsWhatTheFirstAttemptFoundInTheCache) {
  const auto sink = Generate(Request("xyz"));
  SequenceNews news = News(group_.submissions[0], {'a'});
  news.cached_tokens = 2;
  Step(group_, std::move(news));
  Attach(twin_);
  Lose(group_);
  news = News(twin_.submissions[0], {'b'});
  news.cached_tokens = 3;
  news.finish_reason = FinishReason::kLength;
  Step(twin_, std::move(news));
  EXPECT_EQ(sink->All<UsageEvent>()[0].cached_tokens, 2u);
}

TEST_F(GenerationRecoveryTest, LostTwiceItIsStillTheSameStream) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  Lose(group_);
  EXPECT_EQ(Metric("quartet_num_sequences_awaiting_worker"), 1);
  loop_.Advance(absl::Seconds(2));
  Attach(twin_);
  EXPECT_EQ(Metric("quartet_num_sequences_awaiting_worker"), 0);
  loop_.Advance(absl::Seconds(1));
  Lose(twin_);
  Attach(group_);
  ASSERT_THAT(group_.submissions, SizeIs(2));
  EXPECT_EQ(twin_.submissions[0].attempt, 1u);
  EXPECT_EQ(group_.submissions[1].attempt, 2u);
  EXPECT_THAT(group_.submissions[1].output_ids, ElementsAre('a'));
  Finish({'b'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "ab");
  EXPECT_EQ(Metric("quartet_sequences_resumed_total"), 2);
  EXPECT_EQ(Metric("quartet_recovery_seconds_sum"), 3) << "from the first loss";
  EXPECT_EQ(Metric("quartet_recompute_seconds_count"), 1);
  EXPECT_EQ(Metric("quartet_recompute_seconds_sum"), 0) << "from the last submission";
}

TEST_F(GenerationRecoveryTest, LogprobsAreNotAskedForOrSentTwice) {
  GenerationRequest request = Request("xy");
  request.sampling.logprobs = 0;
  request.sampling.prompt_logprobs = 0;
  const auto sink = Generate(std::move(request));
  const auto with_logprobs = [&](const Submission& to, uint32_t id) {
    SequenceNews news = News(to, {id});
    news.logprobs.resize(1);
    news.logprobs[0].token.token_id = id;
    return news;
  };
  SequenceNews news = with_logprobs(group_.submissions[0], 'a');
  news.prompt_logprobs.resize(1);
  Step(group_, std::move(news));
  Attach(twin_);
  Lose(group_);
  EXPECT_FALSE(twin_.submissions[0].sampling.prompt_logprobs.has_value());
  EXPECT_TRUE(twin_.submissions[0].sampling.logprobs.has_value());
  Step(twin_, with_logprobs(twin_.submissions[0], 'b'));
  std::vector<uint32_t> reported;
  size_t num_prompt_tokens = 0;
  for (const DeltaEvent& delta : sink->All<DeltaEvent>()) {
    num_prompt_tokens += delta.prompt_tokens.size();
    for (const OutputToken& token : delta.tokens) {
      ASSERT_TRUE(token.logprobs.has_value());
      reported.push_back(token.logprobs->token.token_id);
    }
  }
  EXPECT_THAT(reported, ElementsAre('a', 'b'));
  EXPECT_EQ(num_prompt_tokens, 2u);
}

TEST_F(GenerationRecoveryTest, ADeadlineThatPassesDuringRecoveryEndsTheRequest) {
  GenerationRequest request = Request("x");
  request.timeout = absl::Seconds(3);
  const auto sink = Generate(std::move(request));
  Tokens({'a'});
  Lose(group_);
  loop_.Advance(absl::Seconds(4));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Failure(*sink)));
  EXPECT_THAT(std::string(Failure(*sink).message()), HasSubstr("1 tokens were delivered"));
  Attach(twin_);
  EXPECT_THAT(twin_.submissions, IsEmpty());
  EXPECT_EQ(Metric("quartet_num_sequences_awaiting_worker"), 0);
}

TEST_F(GenerationRecoveryTest, TheTimeLeftTravelsWithAResume) {
  GenerationRequest request = Request("x");
  request.timeout = absl::Seconds(10);
  Generate(std::move(request));
  Tokens({'a'});
  Lose(group_);
  loop_.Advance(absl::Seconds(4));
  Attach(twin_);
  EXPECT_EQ(twin_.submissions[0].timeout_ms, 6000u);
}

TEST_F(GenerationRecoveryTest, AClientThatGoesDuringRecoveryIsForgotten) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  Lose(group_);
  gateway_.Cancel(handle_);
  loop_.RunReady();
  EXPECT_EQ(sink.use_count(), 1);
  EXPECT_EQ(Metric("quartet_num_sequences_awaiting_worker"), 0);
  Attach(twin_);
  EXPECT_THAT(twin_.submissions, IsEmpty());
}

TEST_F(GenerationRecoveryTest, AFullQueueSendsTheRequestToAnotherGroupFirst) {
  Attach(twin_);
  const auto sink = Generate(Request("x"));
  FakeGroup& first = group_.submissions.empty() ? twin_ : group_;
  FakeGroup& second = group_.submissions.empty() ? group_ : twin_;
  Refuse(first, absl::ResourceExhaustedError("full"));
  ASSERT_THAT(second.submissions, SizeIs(1));
  EXPECT_EQ(second.submissions[0].attempt, 0u) << "nothing was lost";
  EXPECT_THAT(sink->events, IsEmpty());
  Refuse(second, absl::ResourceExhaustedError("full too"));
  EXPECT_TRUE(absl::IsResourceExhausted(Failure(*sink)));
  EXPECT_THAT(std::string(Failure(*sink).message()), HasSubstr("full too"));
  EXPECT_THAT(first.submissions, SizeIs(1));
}

TEST_F(GenerationRecoveryTest, AStreamThatHasBegunOutlastsFullQueues) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  Attach(twin_);
  Lose(group_);
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(twin_.submissions, SizeIs(i + 1));
    Refuse(twin_, absl::ResourceExhaustedError("full"));
    EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
    loop_.Advance(absl::Seconds(1));
  }
  Step(twin_, News(twin_.submissions.back(), {'b'}));
  EXPECT_EQ(sink->Text(), "ab");
  loop_.Advance(absl::Seconds(100));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
}

TEST_F(GenerationRecoveryTest, ButNotLongerThanTheResumeTimeout) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  Attach(twin_);
  Lose(group_);
  Refuse(twin_, absl::ResourceExhaustedError("full"));
  for (int i = 0; i < 61; ++i) {
    loop_.Advance(absl::Seconds(1));
    if (!sink->All<FailedEvent>().empty()) break;
    Refuse(twin_, absl::ResourceExhaustedError("full"));
  }
  EXPECT_TRUE(absl::IsUnavailable(Failure(*sink))) << Failure(*sink);
}

TEST_F(GenerationRecoveryTest, ADrainingGroupHandsOnWhatItRefuses) {
  Attach(twin_);
  const auto sink = Generate(Request("x"));
  FakeGroup& first = group_.submissions.empty() ? twin_ : group_;
  FakeGroup& second = group_.submissions.empty() ? group_ : twin_;
  first.is_draining = true;
  gateway_.OnLoadChanged(&first);
  Refuse(first, absl::UnavailableError("draining"));
  ASSERT_THAT(second.submissions, SizeIs(1));
  Step(second, News(second.submissions[0], {'a'}));
  EXPECT_EQ(sink->Text(), "a");
  EXPECT_TRUE(gateway_.CheckServing().ok());
}

TEST_F(GenerationRecoveryTest, WhenAllGroupsDrainStreamsGoOnAndNothingNewIsTaken) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  group_.is_draining = true;
  gateway_.OnLoadChanged(&group_);
  const absl::Status status = gateway_.CheckServing();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("draining"));
  Finish({'b'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "ab");
  Attach(twin_);
  EXPECT_TRUE(gateway_.CheckServing().ok()) << "its successor serves";
}

TEST_F(GenerationRecoveryTest, ATokenizerThatIsAwayTooCostsOnlyTime) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  tokenizer_.failure = absl::UnavailableError("restarting");
  Tokens({'b'});
  Lose(group_);
  loop_.Advance(absl::Seconds(1));
  Attach(twin_);
  EXPECT_THAT(twin_.submissions[0].output_ids, ElementsAre('a', 'b')) << "received is received";
  Step(twin_, News(twin_.submissions[0], {'c'}));
  loop_.Advance(absl::Seconds(1));
  EXPECT_EQ(sink->Text(), "a");
  tokenizer_.failure = absl::OkStatus();
  loop_.Advance(absl::Seconds(1));
  EXPECT_EQ(sink->Text(), "abc");
}

}  // namespace
}  // namespace quartet::gateway
