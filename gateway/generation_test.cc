// A generation from request to usage, through Gateway, with a tokenizer and groups driven by hand.
#include "gateway/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/gateway.h"
#include "gateway/request_error.h"
#include "gateway/testing/fake_peers.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::FakeGroup;
using testing::FakeTokenizer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kToyEnd;
using testing::kToyHello;
using testing::RecordingSink;
using ::testing::SizeIs;
using testing::ToyEncode;

PositionLogprobs Position(uint32_t id, float logprob, std::vector<uint32_t> top = {}) {
  PositionLogprobs position;
  position.token.token_id = id;
  position.token.logprob = logprob;
  for (uint32_t top_id : top) position.top.emplace_back().token_id = top_id;
  return position;
}

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    gateway_.OnTokenizer(testing::ToyInfo());
    gateway_.OnAttached(&group_);
  }

  static GenerationRequest Request(Prompt prompt, uint32_t max_tokens = 100) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.sampling.max_tokens = max_tokens;
    return request;
  }
  std::shared_ptr<RecordingSink> Generate(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    const auto handle = gateway_.Generate(std::move(request), sink);
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = handle.ok() ? *handle : 0;
    loop_.RunReady();
    return sink;
  }
  SequenceNews News(const Submission& to, TokenIds ids) {
    SequenceNews news;
    news.sequence_id = to.sequence_id;
    news.token_ids = std::move(ids);
    return news;
  }
  void Step(FakeGroup& group, SequenceNews news) {
    gateway_.OnStep(&group, {std::move(news)});
    loop_.RunReady();
  }
  void Tokens(TokenIds ids) { Step(group_, News(group_.submissions.back(), std::move(ids))); }
  void Finish(TokenIds ids, FinishReason reason, std::optional<uint32_t> stop_id = std::nullopt) {
    SequenceNews news = News(group_.submissions.back(), std::move(ids));
    news.finish_reason = reason;
    news.stop_token_id = stop_id;
    Step(group_, std::move(news));
  }
  static absl::Status Failure(const RecordingSink& sink) {
    const auto failures = sink.All<FailedEvent>();
    return failures.size() == 1 ? failures[0].status : absl::OkStatus();
  }

  EventLoop loop_{EventLoop::Mode::kManual};
  FakeTokenizer tokenizer_{&loop_};
  Metrics metrics_;
  Gateway gateway_{GatewayOptions{}, &loop_, &tokenizer_, &metrics_};
  FakeGroup group_{"group-a"};
  Gateway::RequestHandle handle_ = 0;
};

TEST_F(GenerationTest, GoesFromPromptToUsage) {
  const auto sink = Generate(Request("Hi"));
  ASSERT_THAT(group_.submissions, SizeIs(1));
  EXPECT_EQ(*group_.submissions[0].prompt_ids, ToyEncode("Hi"));
  EXPECT_EQ(group_.submissions[0].attempt, 0u);
  ASSERT_TRUE(group_.submissions[0].sampling.seed.has_value());
  EXPECT_THAT(group_.submissions[0].eos_token_ids, ElementsAre(kToyEnd));
  EXPECT_THAT(sink->events, IsEmpty()) << "nothing is said before the first token";
  Tokens({kToyHello});
  Finish({'!', kToyEnd}, FinishReason::kStop, kToyEnd);
  EXPECT_EQ(sink->Text(), "Hello!");
  EXPECT_THAT(sink->Ids(), ElementsAre(kToyHello, '!', kToyEnd));
  const auto started = sink->All<StartedEvent>();
  ASSERT_THAT(started, SizeIs(1));
  EXPECT_EQ(started[0].model, "toy");
  EXPECT_EQ(started[0].seed, *group_.submissions[0].sampling.seed);
  EXPECT_EQ(started[0].prompt_token_ids, ToyEncode("Hi"));
  const auto finished = sink->All<FinishedEvent>();
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(finished[0].reason, FinishReason::kStop);
  EXPECT_EQ(finished[0].stop_token_id, kToyEnd);
  const auto usage = sink->All<UsageEvent>();
  ASSERT_THAT(usage, SizeIs(1));
  EXPECT_EQ(usage[0].prompt_tokens, 2u);
  EXPECT_EQ(usage[0].completion_tokens, 3u) << "the ending id counts";
  EXPECT_TRUE(std::holds_alternative<StartedEvent>(sink->events.front()));
  EXPECT_TRUE(std::holds_alternative<UsageEvent>(sink->events.back()));
}

TEST_F(GenerationTest, ShowsOnlyWholeCharacters) {
  const auto sink = Generate(Request("x"));
  const std::string text = "牛顿";
  for (unsigned char byte : text) Tokens({byte});
  for (const DeltaEvent& delta : sink->All<DeltaEvent>()) {
    EXPECT_TRUE(delta.text.empty() || delta.text == "牛" || delta.text == "顿");
  }
  Finish({0xE5}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "牛顿\xEF\xBF\xBD");
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 7u);
}

TEST_F(GenerationTest, AStopStringEndsTheAnswerBeforeItsFirstByte) {
  GenerationRequest request = Request("x");
  request.stop = {"END", "never"};
  const auto sink = Generate(std::move(request));
  Tokens({'a', 'E'});
  EXPECT_EQ(sink->Text(), "a");
  Tokens({'N'});
  Tokens({'D', 'z', 'z'});
  EXPECT_EQ(sink->Text(), "a");
  EXPECT_THAT(sink->Ids(), ElementsAre('a', 'E', 'N', 'D')) << "the surplus is dropped";
  const auto finished = sink->All<FinishedEvent>();
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(finished[0].reason, FinishReason::kStop);
  EXPECT_EQ(finished[0].stop_string, "END");
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 4u);
  EXPECT_THAT(group_.cancelled, ElementsAre(group_.submissions[0].sequence_id));
  for (const DeltaEvent& delta : sink->All<DeltaEvent>()) {
    for (const OutputToken& token : delta.tokens) EXPECT_EQ(token.hidden, token.id != 'a');
  }
}

TEST_F(GenerationTest, HeldBackTextComesOutWhenTheAnswerEnds) {
  GenerationRequest request = Request("x");
  request.stop = {"END"};
  const auto sink = Generate(std::move(request));
  Tokens({'a', 'E', 'N'});
  Finish({kToyEnd}, FinishReason::kStop, kToyEnd);
  EXPECT_EQ(sink->Text(), "aEN");
  EXPECT_EQ(sink->All<FinishedEvent>()[0].stop_string, std::nullopt);
}

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

// As a leader does whose follower died: news for each sequence first, then the end of the stream.
TEST_F(GenerationTest, AGroupThatSaysItFailsIsALostWorkerToo) {
  const auto sink = Generate(Request("x"));
  Tokens({'a', 'b'});
  SequenceNews news = News(group_.submissions[0], {});
  news.error = absl::UnavailableError("rank 2 of this worker group has gone away");
  Step(group_, std::move(news));
  EXPECT_THAT(group_.submissions, SizeIs(1)) << "nothing goes to a group that is ending";
  gateway_.OnDetached(&group_, absl::UnavailableError("gone"));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
  gateway_.OnAttached(&group_);
  loop_.RunReady();
  ASSERT_THAT(group_.submissions, SizeIs(2));
  EXPECT_THAT(group_.submissions[1].output_ids, ElementsAre('a', 'b'));
  Finish({'c'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "abc");
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

TEST_F(GenerationTest, EchoStandsBeforeEachAnswer) {
  GenerationRequest request = Request(ToyEncode("牛: "));
  request.echo = true;
  request.n = 2;
  request.stop = {"牛"};
  const auto sink = Generate(std::move(request));
  ASSERT_THAT(group_.submissions, SizeIs(2));
  for (const Submission& submission : group_.submissions) {
    SequenceNews news = News(submission, {'a'});
    news.finish_reason = FinishReason::kLength;
    Step(group_, std::move(news));
  }
  EXPECT_EQ(sink->Text(0), "牛: a") << "a stop string in the prompt does not count";
  EXPECT_EQ(sink->Text(1), "牛: a");
  EXPECT_EQ(sink->All<DeltaEvent>()[0].tokens[0].text_offset, 3u);
}

TEST_F(GenerationTest, EchoWithLogprobsTellsThePromptsTokens) {
  GenerationRequest request = Request("牛a");
  request.echo = true;
  request.wants_pieces = true;
  request.prompt_only = true;
  request.sampling.logprobs = 1;
  request.sampling.prompt_logprobs = 1;
  const auto sink = Generate(std::move(request));
  SequenceNews news = News(group_.submissions[0], {'b'});
  for (uint32_t id : {0x89u, 0x9Bu, 97u}) {
    news.prompt_logprobs.push_back(Position(id, -1, {kToyHello}));
  }
  news.logprobs.push_back(Position('b', -2));
  news.finish_reason = FinishReason::kLength;
  Step(group_, std::move(news));
  EXPECT_EQ(sink->Text(), "牛a");
  const auto deltas = sink->All<DeltaEvent>();
  ASSERT_THAT(deltas, SizeIs(1));
  EXPECT_THAT(deltas[0].tokens, IsEmpty()) << "only the prompt was asked for";
  const auto& tokens = deltas[0].prompt_tokens;
  ASSERT_THAT(tokens, SizeIs(4));
  EXPECT_FALSE(tokens[0].logprobs.has_value());
  EXPECT_EQ(tokens[0].text_offset, 0u);
  EXPECT_EQ(tokens[3].text_offset, 1u);
  EXPECT_EQ(tokens[3].piece, "a");
  EXPECT_EQ(tokens[3].logprobs->top[0].piece, "Hello");
  EXPECT_EQ(sink->All<UsageEvent>()[0].completion_tokens, 0u);
}

TEST_F(GenerationTest, LogprobsTravelWithTheirTokens) {
  GenerationRequest request = Request("x");
  request.wants_pieces = true;
  request.sampling.logprobs = 1;
  request.stop = {"bc"};
  const auto sink = Generate(std::move(request));
  SequenceNews news = News(group_.submissions[0], {'a', 'b'});
  news.logprobs = {Position('a', -1, {'x'}), Position('b', -2)};
  Step(group_, std::move(news));
  auto deltas = sink->All<DeltaEvent>();
  ASSERT_THAT(deltas, SizeIs(1));
  ASSERT_THAT(deltas[0].tokens, SizeIs(1)) << "b may begin a stop string";
  EXPECT_EQ(deltas[0].tokens[0].logprobs->top[0].piece, "x");
  news = News(group_.submissions[0], {'d'});
  news.logprobs = {Position('d', -3)};
  Step(group_, std::move(news));
  deltas = sink->All<DeltaEvent>();
  ASSERT_THAT(deltas, SizeIs(2));
  ASSERT_THAT(deltas[1].tokens, SizeIs(2));
  EXPECT_EQ(deltas[1].tokens[0].logprobs->token.piece, "b");
  EXPECT_EQ(deltas[1].tokens[1].text_offset, 2u);
}

TEST_F(GenerationTest, OneMessageDecodesAStepOfManyStreams) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 50; ++i) sinks.push_back(Generate(Request("x")));
  tokenizer_.num_decode_messages = 0;
  std::vector<SequenceNews> news;
  for (const Submission& submission : group_.submissions) news.push_back(News(submission, {'a'}));
  gateway_.OnStep(&group_, std::move(news));
  loop_.RunReady();
  EXPECT_EQ(tokenizer_.num_decode_messages, 1);
  for (const auto& sink : sinks) EXPECT_EQ(sink->Text(), "a");
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

TEST_F(GenerationTest, RefusesAPromptThatDoesNotFitWithTheNumbers) {
  const auto sink = Generate(Request(std::string(950, 'x'), 100));
  const absl::Status failure = Failure(*sink);
  EXPECT_TRUE(absl::IsInvalidArgument(failure));
  EXPECT_EQ(ErrorCode(failure), "context_length_exceeded");
  EXPECT_THAT(std::string(failure.message()),
              HasSubstr("maximum context length is 1000 tokens, but you requested 1050 tokens "
                        "(950 in the prompt, 100 for the completion)"));
  EXPECT_THAT(group_.submissions, IsEmpty());
}

TEST_F(GenerationTest, DefaultMaxTokensDependOnTheKindOfPrompt) {
  GenerationRequest request;
  request.prompt = "x";
  Generate(request);
  EXPECT_EQ(group_.submissions.back().sampling.max_tokens, 16u);
  request.prompt = std::string(995, 'x');
  Generate(request);
  EXPECT_EQ(group_.submissions.back().sampling.max_tokens, 5u) << "cut to the context";
  request.prompt = ChatPrompt{{{"user", "hi", {}, "", ""}}, {}, true};
  Generate(request);
  const size_t prompt_tokens = group_.submissions.back().prompt_ids->size();
  EXPECT_EQ(group_.submissions.back().sampling.max_tokens, 1000 - prompt_tokens);
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
