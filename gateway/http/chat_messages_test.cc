#include "gateway/http/chat_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<ChatPrompt> Read(const std::string& text) {
  return ReadChat(*ParseJsonObject(text), text);
}

absl::StatusOr<ChatPrompt> ReadOne(const std::string& message, const std::string& fields = "") {
  return Read(absl::StrCat(R"({"messages": [)", message, "]", fields, "}"));
}

constexpr char kHi[] = R"({"role": "user", "content": "hi"})";

TEST(ChatMessagesTest, AllRolesAreUnderstood) {
  const auto chat = Read(R"({"messages": [
      {"role": "developer", "content": "d"}, {"role": "system", "content": "s"},
      {"role": "user", "content": "u", "name": "Ann"},
      {"role": "assistant", "content": "a"}, {"role": "tool", "tool_call_id": "1", "content": "t"},
      {"role": "function", "name": "f", "content": "r"}]})");
  ASSERT_TRUE(chat.ok()) << chat.status();
  std::vector<std::string> roles;
  for (const ChatMessage& message : chat->messages) roles.push_back(message.role);
  EXPECT_THAT(roles, ElementsAre("system", "system", "user", "assistant", "tool", "tool"));
  EXPECT_EQ(chat->messages[2].name, "Ann");
}

TEST(ChatMessagesTest, TextPartsAreJoined) {
  const auto chat = ReadOne(R"({"role": "assistant", "content": [
      {"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]})");
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->messages[0].content, "ab");
}

TEST(ChatMessagesTest, OtherPartsAreRefusedByName) {
  for (const char* type : {"image_url", "input_audio", "file", "video_url"}) {
    const auto chat = ReadOne(
        absl::StrCat(R"({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": ")",
                     type, R"("}]})"));
    EXPECT_EQ(ErrorParam(chat.status()), "messages[0].content[1]");
    EXPECT_THAT(std::string(chat.status().message()),
                HasSubstr(absl::StrCat("\"", type, "\": the model reads text only")));
  }
  EXPECT_EQ(ErrorParam(ReadOne(R"({"role": "user", "content": [7]})").status()),
            "messages[0].content[0]");
  EXPECT_EQ(ErrorParam(ReadOne(R"({"role": "user", "content": [{"type": "text"}]})").status()),
            "messages[0].content[0].text");
}

TEST(ChatMessagesTest, CallsComeInBothForms) {
  const auto chat = Read(R"({"messages": [
      {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
       "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
      {"role": "assistant", "content": null, "function_call": {"name": "g", "arguments": ""}}]})");
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->messages[0].tool_calls[0].id, "1");
  EXPECT_EQ(chat->messages[0].tool_calls[0].arguments_json, "{\"x\":1}");
  EXPECT_EQ(chat->messages[1].tool_calls[0].name, "g");
  EXPECT_EQ(chat->messages[1].tool_calls[0].arguments_json, "{}");
}

TEST(ChatMessagesTest, CallsOfOtherTypesAreRefused) {
  for (const char* type : {"\"custom\"", "{}"}) {
    const auto chat = ReadOne(absl::StrCat(R"({"role": "assistant", "tool_calls": [{"type": )",
                                           type, R"(, "function": {"name": "f"}}]})"));
    EXPECT_EQ(ErrorParam(chat.status()), "messages[0].tool_calls[0].type");
  }
}

TEST(ChatMessagesTest, TheAnswerContinuesOrBegins) {
  auto chat = ReadOne(kHi);
  EXPECT_TRUE(chat->add_generation_prompt && !chat->continue_final_message);
  chat = ReadOne(kHi, R"(, "continue_final_message": true)");
  EXPECT_TRUE(!chat->add_generation_prompt && chat->continue_final_message);
  chat = ReadOne(kHi, R"(, "add_generation_prompt": false)");
  EXPECT_TRUE(!chat->add_generation_prompt && !chat->continue_final_message);
  const absl::Status both =
      ReadOne(kHi, R"(, "continue_final_message": true, "add_generation_prompt": true)").status();
  EXPECT_EQ(ErrorParam(both), "continue_final_message");
  EXPECT_THAT(std::string(both.message()), HasSubstr("can't both be true"));
}

TEST(ChatMessagesTest, TheTemplateGetsWhatTheClientSends) {
  const auto chat = ReadOne(kHi, R"(, "chat_template": "{{ x }}",
      "chat_template_kwargs": {"zebra": 1, "apple": [2.5, true]},
      "documents": [{"title": "t", "text": "x"}])");
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->chat_template, "{{ x }}");
  EXPECT_EQ(chat->template_kwargs_json, R"({"zebra":1,"apple":[2.5,true]})");
  EXPECT_THAT(chat->documents_json, ElementsAre(R"({"title":"t","text":"x"})"));
  const struct {
    const char* fields;
    const char* param;
  } cases[] = {
      {R"(, "chat_template": 1)", "chat_template"},
      {R"(, "chat_template_kwargs": [])", "chat_template_kwargs"},
      {R"(, "documents": {})", "documents"},
      {R"(, "documents": ["x"])", "documents"},
      {R"(, "add_generation_prompt": 1)", "add_generation_prompt"},
      {R"(, "continue_final_message": "yes")", "continue_final_message"},
  };
  for (const auto& c : cases) EXPECT_EQ(ErrorParam(ReadOne(kHi, c.fields).status()), c.param);
}

}  // namespace
}  // namespace quartet::gateway::http
