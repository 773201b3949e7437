#include "cli/conversation.h"

#include <gtest/gtest.h>

namespace quartet::cli {
namespace {

TEST(ConversationTest, KeepsTurnsAndTheSystemPrompt) {
  Conversation conversation("be brief");
  conversation.AddUser("hi");
  conversation.AddAssistant("hello");
  ASSERT_EQ(conversation.turns().size(), 3u);
  EXPECT_EQ(conversation.turns()[0].role, "system");
  EXPECT_EQ(conversation.turns()[2].content, "hello");
  conversation.Reset();
  ASSERT_EQ(conversation.turns().size(), 1u);
  EXPECT_EQ(conversation.turns()[0].content, "be brief");
}

TEST(ConversationTest, AnEmptyAnswerTakesItsQuestionAlong) {
  Conversation conversation("");
  conversation.AddUser("hi");
  conversation.AddAssistant("");
  EXPECT_TRUE(conversation.turns().empty());
}

TEST(ClassifyLineTest, KnowsCommands) {
  EXPECT_EQ(ClassifyLine("hello /reset"), LineKind::kMessage);
  EXPECT_EQ(ClassifyLine("  /reset "), LineKind::kReset);
  EXPECT_EQ(ClassifyLine("/help"), LineKind::kHelp);
  EXPECT_EQ(ClassifyLine("/exit"), LineKind::kExit);
  EXPECT_EQ(ClassifyLine("/rest"), LineKind::kUnknownCommand);
  EXPECT_EQ(ClassifyLine(" \t"), LineKind::kEmpty);
}

}  // namespace
}  // namespace quartet::cli
