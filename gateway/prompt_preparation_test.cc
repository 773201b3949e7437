// What a request's prompt becomes, seen from the sequences that the group gets.
#include "gateway/prompt_preparation.h"

#include "gateway/testing/generation_fixture.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::GenerationTest;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::ToyEncode;
using testing::ToyInfo;

class PromptPreparationTest : public GenerationTest {
 protected:
  TokenIds PromptIds(GenerationRequest request) {
    const auto sink = Generate(std::move(request));
    EXPECT_TRUE(Failure(*sink).ok()) << Failure(*sink);
    return group_.submissions.empty() ? TokenIds() : *group_.submissions.back().prompt_ids;
  }
};

TEST_F(PromptPreparationTest, ASuffixIsPutBetweenTheMarks) {
  TokenizerInfo info = ToyInfo();
  info.fill_in_middle = FillInMiddleIds{270, 271, 272};
  gateway_.OnTokenizer(info);
  GenerationRequest request = Request("ab");
  request.suffix = "c";
  EXPECT_THAT(PromptIds(request), ElementsAre(270, 'a', 'b', 271, 'c', 272));
}

TEST_F(PromptPreparationTest, TruncationKeepsTheEndOrTheStart) {
  GenerationRequest request = Request("abcdef");
  request.truncate_prompt_tokens = 2;
  EXPECT_EQ(PromptIds(request), ToyEncode("ef"));
  request.truncate_keeps_start = true;
  EXPECT_EQ(PromptIds(request), ToyEncode("ab"));
  request.truncate_prompt_tokens = 7;
  EXPECT_EQ(PromptIds(request), ToyEncode("abcdef"));
  request.truncate_prompt_tokens = kTruncateToFit;
  request.prompt = std::string(5000, 'x');
  request.sampling.max_tokens = 100;
  EXPECT_THAT(PromptIds(request), SizeIs(900)) << "the context has 1000";
}

TEST_F(PromptPreparationTest, AnEchoOfACutPromptIsWhatWasRead) {
  GenerationRequest request = Request("abcdef");
  request.echo = true;
  request.truncate_prompt_tokens = 2;
  const auto sink = Generate(std::move(request));
  Finish({'!'}, FinishReason::kLength);
  EXPECT_EQ(sink->Text(), "ef!");
}

TEST_F(PromptPreparationTest, BadWordsAreBannedWithAndWithoutASpaceBefore) {
  GenerationRequest request = Request("x");
  request.bad_words = {"no", " no", "a"};
  Generate(std::move(request));
  EXPECT_THAT(group_.submissions.back().sampling.banned_sequences,
              ElementsAre(ToyEncode("no"), ToyEncode(" no"), ToyEncode("a"), ToyEncode(" a")));
}

TEST_F(PromptPreparationTest, ATokenizerThatIsAwayIsAskedAgainAtEveryStep) {
  tokenizer_.failure = absl::UnavailableError("restarting");
  GenerationRequest request = Request("x");
  request.bad_words = {"no"};
  const auto sink = Generate(std::move(request));
  loop_.Advance(absl::Seconds(5));
  EXPECT_THAT(group_.submissions, IsEmpty());
  tokenizer_.failure = absl::OkStatus();
  loop_.Advance(absl::Seconds(1));
  ASSERT_THAT(group_.submissions, SizeIs(1));
  EXPECT_THAT(group_.submissions[0].sampling.banned_sequences, SizeIs(2));
  EXPECT_THAT(sink->All<FailedEvent>(), IsEmpty());
}

TEST_F(PromptPreparationTest, TheTemplatesTextIsToldOnDemand) {
  ChatPrompt chat;
  chat.messages.push_back({"user", "hi", {}, "", ""});
  GenerationRequest request = Request(chat);
  request.wants_prompt_text = true;
  request.add_special_tokens = true;
  request.echo_text = "so ";
  const auto sink = Generate(std::move(request));
  Finish({'x'}, FinishReason::kLength);
  EXPECT_EQ(sink->All<StartedEvent>()[0].prompt_text, "user:hi\nassistant:");
  EXPECT_EQ(*group_.submissions[0].prompt_ids, ToyEncode("user:hi\nassistant:"));
  EXPECT_EQ(sink->Text(), "so x");
}

}  // namespace
}  // namespace quartet::gateway
