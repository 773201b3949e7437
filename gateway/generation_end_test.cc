// The other ends of a generation, and what it survives: lost workers and tokenizers, cancels,
// aborts, deadlines, refusals.
#include "gateway/generation.h"
#include "gateway/request_error.h"
#include "gateway/testing/generation_fixture.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::FakeGroup;
using testing::FakeTokenizer;
using testing::GenerationTest;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RecordingSink;
using ::testing::SizeIs;
using testing::ToyEncode;

TEST_F(GenerationTest, ALostWorkerLosesAndDoublesNothing) {
  GenerationRequest request = Request("x");
  request.sampling.seed = 7;
  const auto sink = Generate(std::move(request));
  Tokens({'a', 'b'});
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.Advance(absl::Seconds(30));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
  gateway_.OnAttached(&group_);
  loop_.RunReady();
  ASSERT_THAT(group_.submissions, SizeIs(2));
  const Submission& again = group_.submissions[1];
  EXPECT_EQ(again.attempt, 1u);
  EXPECT_EQ(*again.prompt_ids, ToyEncode("x"));
  EXPECT_THAT(again.output_ids, ElementsAre('a', 'b'));
  EXPECT_EQ(again.sampling.seed, 7u);
  EXPECT_EQ(again.sampling.max_tokens, group_.submissions[0].sampling.max_tokens);
  // News of the first attempt that was still on its way is not taken.
  Step(group_, News(group_.submissions[0], {'b'}));
  Tokens({'c'});
  Finish({'d'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "abcd");
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 4u);
  loop_.Advance(absl::Seconds(100));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty()) << "the resume timer is off";
}

TEST_F(GenerationTest, ARefusedShapeIsNamedByTheClientsField) {
  for (const std::string field : {"response_format.json_schema", ""}) {
    GenerationRequest request = Request("x");
    request.structured_output.emplace();
    request.structured_output->field = field;
    const auto sink = Generate(std::move(request));
    SequenceNews news = News(group_.submissions.back(), {});
    news.error = absl::InvalidArgumentError("structured_output.json_schema: keyword \"not\" at #");
    Step(group_, news);
    ASSERT_THAT(sink->All<FailedEvent>(), SizeIs(1));
    const absl::Status status = sink->All<FailedEvent>()[0].status;
    const std::string named = field.empty() ? "structured_output.json_schema" : field;
    EXPECT_EQ(ErrorParam(status), named);
    EXPECT_EQ(status.message(), named + ": keyword \"not\" at #");
  }
}

TEST_F(GenerationTest, GoesOnOnlyWhereTheNumbersAreTheSame) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  FakeGroup other("group-b", "numerics-2");
  gateway_.OnAttached(&other);
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.RunReady();
  EXPECT_THAT(other.submissions, IsEmpty());
  FakeGroup twin("group-c");
  gateway_.OnAttached(&twin);
  loop_.RunReady();
  ASSERT_THAT(twin.submissions, SizeIs(1));
  EXPECT_THAT(twin.submissions[0].output_ids, ElementsAre('a'));
}

TEST_F(GenerationTest, BeforeItsFirstTokenAnyGroupWillDo) {
  const auto sink = Generate(Request("x"));
  FakeGroup other("group-b", "numerics-2");
  gateway_.OnAttached(&other);
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.RunReady();
  ASSERT_THAT(other.submissions, SizeIs(1));
}

TEST_F(GenerationTest, AWorkerLostWhileThePromptIsEncodedIsWaitedFor) {
  auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(gateway_.Generate(Request("x"), sink).ok());
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.RunReady();
  EXPECT_THAT(sink->events, IsEmpty());
  gateway_.OnAttached(&group_);
  ASSERT_THAT(group_.submissions, SizeIs(1));
  Finish({'a'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "a");
}

TEST_F(GenerationTest, AfterTheResumeTimeoutSaysWhatWasDelivered) {
  const auto sink = Generate(Request("x"));
  Tokens({'a', 'b'});
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.Advance(absl::Seconds(61));
  const absl::Status failure = Failure(*sink);
  EXPECT_TRUE(absl::IsUnavailable(failure)) << failure;
  EXPECT_THAT(std::string(failure.message()), HasSubstr("2 tokens were delivered"));
  EXPECT_TRUE(std::holds_alternative<FailedEvent>(sink->events.back()));
  gateway_.OnAttached(&group_);
  EXPECT_THAT(group_.submissions, SizeIs(1));
}

TEST_F(GenerationTest, AnAnswerThatHadEndedNeedsNoWorker) {
  const auto sink = Generate(Request("x"));
  SequenceNews news = News(group_.submissions[0], {'a'});
  news.finish_reason = FinishReason::kLength;
  gateway_.OnStep(&group_, {std::move(news)});  // Not decoded yet.
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  loop_.RunReady();
  EXPECT_EQ(sink->Text(), "a");
  EXPECT_THAT(sink->All<UsageEvent>(), SizeIs(1));
}

TEST_F(GenerationTest, CancelFreesTheSequenceAndSaysNothing) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  const size_t said = sink->events.size();
  gateway_.Cancel(handle_);
  loop_.RunReady();
  EXPECT_THAT(group_.cancelled, ElementsAre(group_.submissions[0].sequence_id));
  EXPECT_THAT(sink->events, SizeIs(said));
  EXPECT_EQ(sink.use_count(), 1) << "the sink is let go";
}

TEST_F(GenerationTest, AbortEndsAllAnswersAndCountsThem) {
  GenerationRequest request = Request("x");
  request.n = 2;
  request.request_id = "mine";
  const auto sink = Generate(std::move(request));
  ASSERT_THAT(group_.submissions, SizeIs(2));
  Step(group_, News(group_.submissions[0], {'a'}));
  absl::Status aborted = absl::UnknownError("not called");
  gateway_.Abort("mine", [&](absl::Status status) { aborted = status; });
  absl::Status missing;
  gateway_.Abort("other", [&](absl::Status status) { missing = status; });
  loop_.RunReady();
  EXPECT_TRUE(aborted.ok()) << aborted;
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  ASSERT_THAT(sink->All<FinishedEvent>(), SizeIs(2));
  EXPECT_EQ(sink->All<FinishedEvent>()[1].reason, FinishReason::kAbort);
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 1u);
  EXPECT_THAT(group_.cancelled, SizeIs(2));
}

TEST_F(GenerationTest, AnErrorBeforeTheFirstTokenIsTheOnlyEvent) {
  const auto sink = Generate(Request("x"));
  SequenceNews news = News(group_.submissions[0], {});
  news.error = absl::ResourceExhaustedError("the queue is full");
  Step(group_, std::move(news));
  ASSERT_THAT(sink->events, SizeIs(1));
  EXPECT_TRUE(absl::IsResourceExhausted(Failure(*sink)));
  EXPECT_GT(RetryAfterSeconds(Failure(*sink)), 0);
}

TEST_F(GenerationTest, APromptIsEncodedOnceALostTokenizerIsBack) {
  ChatPrompt chat;
  chat.messages.push_back({"user", "hi", {}, "", ""});
  for (const Prompt& prompt : {Prompt("x"), Prompt(chat)}) {
    tokenizer_.failure = absl::UnavailableError("restarting");
    group_.submissions.clear();
    const auto sink = Generate(Request(prompt));
    loop_.Advance(absl::Seconds(30));
    EXPECT_THAT(sink->events, IsEmpty());
    EXPECT_THAT(group_.submissions, IsEmpty());
    tokenizer_.failure = absl::OkStatus();
    loop_.Advance(absl::Seconds(1));
    ASSERT_THAT(group_.submissions, SizeIs(1));
    Finish({'a'}, FinishReason::kLength);
    EXPECT_EQ(sink->Text(), "a");
  }
}

TEST_F(GenerationTest, APromptWaitsForTheTokenizerNoLongerThanStreamsWaitForWorkers) {
  tokenizer_.failure = absl::UnavailableError("gone");
  const auto sink = Generate(Request("x"));
  loop_.Advance(absl::Seconds(59));
  EXPECT_THAT(sink->events, IsEmpty());
  loop_.Advance(absl::Seconds(2));
  EXPECT_TRUE(absl::IsUnavailable(Failure(*sink))) << Failure(*sink);
  EXPECT_THAT(group_.submissions, IsEmpty());
}

TEST_F(GenerationTest, WhatTheTokenizerRefusesFailsAtOnce) {
  tokenizer_.failure = absl::InvalidArgumentError("no such role");
  EXPECT_TRUE(absl::IsInvalidArgument(Failure(*Generate(Request("x")))));
}

TEST_F(GenerationTest, StartedWaitsForTheFirstTokenButNotForLong) {
  const auto sink = Generate(Request("x"));
  loop_.Advance(absl::Milliseconds(4999));
  EXPECT_THAT(sink->events, IsEmpty());
  loop_.Advance(absl::Milliseconds(2));
  ASSERT_THAT(sink->events, SizeIs(1));
  EXPECT_TRUE(std::holds_alternative<StartedEvent>(sink->events[0]));
  Tokens({'a'});
  EXPECT_THAT(sink->All<StartedEvent>(), SizeIs(1));
}

TEST_F(GenerationTest, ADeadlineEndsTheRequest) {
  GenerationRequest request = Request("x");
  request.timeout = absl::Seconds(3);
  const auto sink = Generate(std::move(request));
  EXPECT_EQ(group_.submissions[0].timeout_ms, 3000u);
  loop_.Advance(absl::Seconds(4));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Failure(*sink)));
  EXPECT_THAT(group_.cancelled, SizeIs(1));
}

TEST_F(GenerationTest, ATokenizerThatComesBackCostsOnlyTime) {
  const auto sink = Generate(Request("x"));
  tokenizer_.failure = absl::UnavailableError("restarting");
  Tokens({'a'});
  loop_.Advance(absl::Seconds(5));
  Tokens({'b'});
  tokenizer_.failure = absl::OkStatus();
  loop_.Advance(absl::Seconds(1));
  EXPECT_EQ(sink->Text(), "ab");
  tokenizer_.failure = absl::UnavailableError("gone");
  Tokens({'c'});
  loop_.Advance(absl::Seconds(61));
  EXPECT_TRUE(absl::IsUnavailable(Failure(*sink)));
}

TEST_F(GenerationTest, GoesToTheLeastLoadedGroup) {
  FakeGroup other("group-b");
  other.mutable_load().num_waiting = 10;
  gateway_.OnAttached(&other);
  for (int i = 0; i < 12; ++i) Generate(Request("x"));
  EXPECT_THAT(group_.submissions, SizeIs(10 + 1));
  EXPECT_THAT(other.submissions, SizeIs(1));
}

TEST_F(GenerationTest, RefusesWhatCanNotBeServed) {
  GenerationRequest request = Request("x");
  request.model = "gpt-7";
  auto sink = std::make_shared<RecordingSink>();
  absl::Status status = gateway_.Generate(request, sink).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_EQ(ErrorCode(status), "model_not_found");
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  status = gateway_.Generate(Request("x"), sink).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  gateway_.OnAttached(&group_);
  group_.is_healthy = false;
  gateway_.OnLoadChanged(&group_);
  EXPECT_FALSE(gateway_.CheckServing().ok());
  group_.is_healthy = true;
  gateway_.OnLoadChanged(&group_);
  EXPECT_TRUE(gateway_.CheckServing().ok());
  gateway_.OnTokenizer(std::nullopt);
  EXPECT_FALSE(gateway_.CheckServing().ok());
}

TEST(GatewayTest, BoundsThePromptTokensOfAllRequests) {
  EventLoop loop(EventLoop::Mode::kManual);
  FakeTokenizer tokenizer(&loop);
  Metrics metrics;
  GatewayOptions options;
  options.max_inflight_prompt_tokens = 10;
  Gateway gateway(options, &loop, &tokenizer, &metrics);
  FakeGroup group("group-a");
  gateway.OnTokenizer(testing::ToyInfo());
  gateway.OnAttached(&group);
  const auto generate = [&](size_t prompt_tokens) {
    GenerationRequest request;
    request.prompt = std::string(prompt_tokens, 'x');
    auto sink = std::make_shared<RecordingSink>();
    const auto handle = gateway.Generate(std::move(request), sink);
    EXPECT_TRUE(handle.ok()) << handle.status();
    loop.RunReady();
    const auto failures = sink->All<FailedEvent>();
    return std::make_pair(*handle, failures.empty() ? absl::OkStatus() : failures[0].status);
  };
  const auto [first, alone] = generate(20);
  EXPECT_TRUE(alone.ok()) << "its own bound is the context: " << alone;
  const absl::Status beside = generate(1).second;
  EXPECT_TRUE(absl::IsResourceExhausted(beside)) << beside;
  EXPECT_THAT(std::string(beside.message()), HasSubstr("--max_inflight_prompt_tokens"));
  EXPECT_EQ(RetryAfterSeconds(beside), 1);
  gateway.Cancel(first);
  loop.RunReady();
  EXPECT_TRUE(generate(6).second.ok());
  EXPECT_TRUE(generate(4).second.ok());
  EXPECT_FALSE(generate(1).second.ok());
}

TEST_F(GenerationTest, AGatewayThatDrainsFinishesWhatItHas) {
  const auto sink = Generate(Request("x"));
  Tokens({'a'});
  gateway_.StopAdmitting();
  loop_.RunReady();
  EXPECT_FALSE(gateway_.state()->serving);
  const absl::Status status =
      gateway_.Generate(Request("x"), std::make_shared<RecordingSink>()).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  Finish({'b'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "ab");
}

TEST(GatewayTest, BoundsTheNumberOfRequests) {
  EventLoop loop(EventLoop::Mode::kManual);
  FakeTokenizer tokenizer(&loop);
  Metrics metrics;
  GatewayOptions options;
  options.max_inflight_requests = 2;
  options.model_names = {"served", "alias"};
  Gateway gateway(options, &loop, &tokenizer, &metrics);
  FakeGroup group("group-a");
  gateway.OnTokenizer(testing::ToyInfo());
  gateway.OnAttached(&group);
  GenerationRequest request;
  request.prompt = "x";
  request.model = "alias";
  auto sink = std::make_shared<RecordingSink>();
  const auto first = gateway.Generate(request, sink);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(gateway.Generate(request, sink).ok());
  const absl::Status status = gateway.Generate(request, sink).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(RetryAfterSeconds(status), 1);
  loop.RunReady();
  gateway.Cancel(*first);
  loop.RunReady();
  EXPECT_TRUE(gateway.Generate(request, sink).ok());
  EXPECT_EQ(gateway.state()->model->name, "served");
}

}  // namespace
}  // namespace quartet::gateway
