// A generation from request to usage: text, stop strings, echo, log-probabilities, limits.
#include "gateway/generation.h"

#include "gateway/request_error.h"
#include "gateway/testing/generation_fixture.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::GenerationTest;
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
  ChatPrompt chat;
  chat.messages.push_back({"user", "hi", {}, "", ""});
  request.prompt = std::move(chat);
  Generate(request);
  const size_t prompt_tokens = group_.submissions.back().prompt_ids->size();
  EXPECT_EQ(group_.submissions.back().sampling.max_tokens, 1000 - prompt_tokens);
}

}  // namespace
}  // namespace quartet::gateway
