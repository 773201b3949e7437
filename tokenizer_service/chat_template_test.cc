#include "tokenizer_service/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::tokenizer {
namespace {

using ::testing::HasSubstr;

constexpr char kChatMl[] =
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

ChatTemplateSource Source(absl::string_view text) {
  ChatTemplateSource source;
  source.text = std::string(text);
  source.special_tokens = {{"bos_token", "<s>"}};
  return source;
}

Conversation Said(std::vector<ChatTurn> turns) {
  Conversation conversation;
  conversation.turns = std::move(turns);
  return conversation;
}

// The prompt, or what is wrong.
std::string Rendered(absl::string_view text, const Conversation& conversation) {
  const auto prompt = ChatTemplate(Source(text)).Render(conversation, 0);
  return prompt.ok() ? *prompt : std::string(prompt.status().message());
}

absl::Status Failure(absl::string_view text, const Conversation& conversation) {
  return ChatTemplate(Source(text)).Render(conversation, 0).status();
}

TEST(ChatTemplateTest, RendersTheModelsOwn) {
  const ChatTemplate chat(Source(kChatMl));
  EXPECT_TRUE(chat.status().ok()) << chat.status();
  Conversation conversation = Said({{"system", "S", {}, "", ""}, {"user", "U", {}, "", ""}});
  EXPECT_EQ(*chat.Render(conversation, 0), "<|system|>S\n<|user|>U\n<|assistant|>");
  conversation.add_generation_prompt = false;
  EXPECT_EQ(*chat.Render(conversation, 0), "<|system|>S\n<|user|>U\n");
}

TEST(ChatTemplateTest, SaysWhyThereIsNone) {
  const ChatTemplate none(Source(""));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(none.Render(Said({{"user", "", {}, "", ""}}), 0).status(), none.status());
  const ChatTemplate broken(Source("a\n{% include 'b' %}"));
  EXPECT_EQ(broken.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(broken.status().message(),
              HasSubstr("line 2: the tag {% include %} is not supported"));
  ChatTemplateSource source = Source(kChatMl);
  source.tool_use_text = "{{ x | rot13 }}";
  EXPECT_THAT(ChatTemplate(source).status().message(), HasSubstr("tool_use chat template"));
}

TEST(ChatTemplateTest, RefusesEmptyAndOddConversations) {
  EXPECT_EQ(Failure(kChatMl, {}).code(), absl::StatusCode::kInvalidArgument);
  const Conversation odd = Said({{"user", "", {}, "", ""}, {"wizard", "", {}, "", ""}});
  EXPECT_THAT(Failure(kChatMl, odd).message(), HasSubstr("messages[1].role is \"wizard\""));
  EXPECT_THAT(Failure(kChatMl, Said({{"user", "a\xff", {}, "", ""}})).message(),
              HasSubstr("messages[0].content: is not UTF-8 at byte offset 1"));
  // A role that the template names is fine.
  EXPECT_EQ(Rendered("{% if messages[1]['role'] == 'wizard' %}magic{% endif %}", odd), "magic");
}

TEST(ChatTemplateTest, ShowsCallsAsObjects) {
  Conversation conversation =
      Said({{"assistant", "", {{"f", R"({"b": 1, "a": "é"})", "c1"}, {"g", "", ""}}, "", ""},
            {"tool", "T", {}, "c1", "f"}});
  conversation.tools_json = {R"({"type":"function", "x": 1})"};
  EXPECT_EQ(
      Rendered("{{ tools[0] | tojson }}{% for m in messages %}{{ m | tojson }}{% endfor %}",
               conversation),
      R"({"type": "function", "x": 1})"
      R"({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c1", )"
      R"("function": {"name": "f", "arguments": {"b": 1, "a": "é"}}}, {"type": "function", )"
      R"("function": {"name": "g", "arguments": {}}}]})"
      R"({"role": "tool", "content": "T", "tool_call_id": "c1", "name": "f"})");
}

TEST(ChatTemplateTest, FindsOutHowATemplateWantsCalls) {
  const Conversation conversation = Said({{"assistant", "", {{"f", R"({"b":1})", ""}}, "", ""}});
  // Calls only where there is no content, arguments added to text.
  EXPECT_EQ(Rendered("{% for m in messages %}{% if m.tool_calls and m.content is none %}"
                     "{{ m.tool_calls[0].function.name + m.tool_calls[0].function.arguments }}"
                     "{% else %}{{ m.content }}{% endif %}{% endfor %}",
                     conversation),
            "f{\"b\":1}");
}

TEST(ChatTemplateTest, UsesTheTemplateForTools) {
  ChatTemplateSource source = Source("plain {{ tools is none }}");
  source.tool_use_text = "tools {{ tools | length }}";
  const ChatTemplate chat(source);
  Conversation conversation = Said({{"user", "", {}, "", ""}});
  EXPECT_EQ(*chat.Render(conversation, 0), "plain True");
  conversation.tools_json = {"{}"};
  EXPECT_EQ(*chat.Render(conversation, 0), "tools 1");
}

TEST(ChatTemplateTest, ContinuesTheFinalMessage) {
  Conversation conversation =
      Said({{"user", "U", {}, "", ""}, {"assistant", " The answer is ", {}, "", ""}});
  conversation.continue_final_message = true;
  EXPECT_THAT(Rendered(kChatMl, conversation), HasSubstr("both true"));
  conversation.add_generation_prompt = false;
  EXPECT_EQ(Rendered(kChatMl, conversation), "<|user|>U\n<|assistant|> The answer is ");
  EXPECT_EQ(Rendered("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", conversation),
            "[U][The answer is");
  EXPECT_THAT(Rendered("{{ messages[0].content }}", conversation),
              HasSubstr("does not show the final message"));
}

TEST(ChatTemplateTest, GivesTemplatesTheClientsVariables) {
  Conversation conversation = Said({{"user", "U", {}, "", ""}});
  conversation.template_kwargs_json = R"({"enable_thinking": false, "bos_token": "B"})";
  conversation.documents_json = {R"({"title": "T"})"};
  EXPECT_EQ(
      Rendered("{{ enable_thinking }} {{ bos_token }} {{ documents[0].title }}", conversation),
      "False B T");
  conversation.chat_template = "client's {{ bos_token }}";
  EXPECT_EQ(Rendered("", conversation), "client's B");
}

TEST(ChatTemplateTest, ErrorsNameTheField) {
  const Conversation user = Said({{"user", "U", {}, "", ""}});
  const auto failing = [&user](auto change) {
    Conversation conversation = user;
    change(&conversation);
    const absl::Status status = Failure(kChatMl, conversation);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(failing([](Conversation* c) {
                c->tools_json = {"{}", "[1"};
              }),
              HasSubstr("tools[1]: not JSON at byte 2"));
  EXPECT_THAT(failing([](Conversation* c) { c->documents_json = {"3"}; }),
              HasSubstr("documents[0]: is no JSON object"));
  EXPECT_THAT(failing([](Conversation* c) { c->template_kwargs_json = "{"; }),
              HasSubstr("template_kwargs_json: not JSON"));
  EXPECT_THAT(failing([](Conversation* c) { c->template_kwargs_json = R"({"messages": []})"; }),
              HasSubstr("template_kwargs_json: 'messages' is a field"));
  EXPECT_THAT(failing([](Conversation* c) { c->chat_template = "\n{{ x"; }),
              HasSubstr("chat_template: line 2"));
  EXPECT_THAT(failing([](Conversation* c) { c->chat_template = "{{ raise_exception('no') }}"; }),
              HasSubstr("chat_template: line 1: the template refuses the conversation: no"));
  EXPECT_THAT(failing([](Conversation* c) {
                c->turns.push_back({"assistant", "", {{"f", "{x}", ""}}, "", ""});
              }),
              HasSubstr("messages[1].tool_calls[0].arguments: not JSON at byte 1"));
}

TEST(ChatTemplateTest, ATemplateThatTakesTooMuchIsEnded) {
  Conversation conversation = Said({{"user", "U", {}, "", ""}});
  conversation.chat_template =
      "{% set r = range(9999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}";
  const absl::Status status = Failure("", conversation);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("chat_template: line 1: the template takes more than"));
}

}  // namespace
}  // namespace quartet::tokenizer
