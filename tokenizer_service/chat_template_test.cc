#include "tokenizer_service/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer_service/json_text.h"

namespace quartet::tokenizer {
namespace {

using ::testing::HasSubstr;

// SmolLM2's template as its tokenizer_config.json spells it.
constexpr char kSmolLm2[] =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

TEST(ChatTemplateTest, RecognisesSmolLm2AndItsVariants) {
  const auto as_is = ChatTemplate::Recognize(kSmolLm2);
  ASSERT_TRUE(as_is.ok()) << as_is.status();
  EXPECT_EQ(as_is->name(), "SmolLM2");
  const std::string with_line_end = std::string(kSmolLm2) + "\n";
  EXPECT_TRUE(ChatTemplate::Recognize(with_line_end).ok());
  std::string other_prompt = kSmolLm2;
  other_prompt.replace(other_prompt.find("SmolLM, trained"), 6, "Otto");
  ASSERT_TRUE(ChatTemplate::Recognize(other_prompt).ok());
  EXPECT_THAT(*ChatTemplate::Recognize(other_prompt)->Render({{{"user", "hi", {}}}, {}, false}),
              HasSubstr("assistant named Otto, trained"));
}

TEST(ChatTemplateTest, RefusesWhatItDoesNotKnow) {
  const auto none = ChatTemplate::Recognize("");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  std::string changed = kSmolLm2;
  changed.replace(changed.find("<|im_end|>' + '"), 10, "<|im_END|>");
  const auto unknown = ChatTemplate::Recognize(changed);
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(unknown.status().message(), HasSubstr("Qwen2.5 and SmolLM2"));
  // A default prompt that Jinja would read as more than text.
  std::string tricky = kSmolLm2;
  tricky.replace(tricky.find("SmolLM, trained"), 6, "'+x+'");
  EXPECT_FALSE(ChatTemplate::Recognize(tricky).ok());
}

TEST(ChatTemplateTest, RendersSmolLm2) {
  const auto chat = ChatTemplate::Recognize(kSmolLm2);
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(
      *chat->Render({{{"system", "S", {}}, {"user", "U", {}}}, {}, true}),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, RefusesEmptyAndOddConversations) {
  const auto chat = ChatTemplate::Recognize(kSmolLm2);
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(chat->Render({}).status().code(), absl::StatusCode::kInvalidArgument);
  const auto odd = chat->Render({{{"user", "", {}}, {"wizard", "", {}}}, {}, true});
  EXPECT_THAT(odd.status().message(), HasSubstr("messages[1].role is \"wizard\""));
}

TEST(RewriteJsonTest, PrintsAsPythonDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"b":1,"a":[true,null,false]})", R"({"b": 1, "a": [true, null, false]})"},
      {R"({"a":1,"b":2,"a":3})", R"({"a": 3, "b": 2})"},
      {" [ ] ", "[]"},
      {"{}", "{}"},
      {"-0", "0"},
      {"-0.0", "-0.0"},
      {"1e2", "100.0"},
      {"1E16", "1e+16"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"0.0001", "0.0001"},
      {"0.00001", "1e-05"},
      {"1e999", "Infinity"},
      {"1e-999", "0.0"},
      {R"("\u00e9\ud83d\ude00\/\u0001\u007f")", "\"\xC3\xA9\xF0\x9F\x98\x80/\\u0001\x7f\""},
      {R"("a\"\\\b\f\n\r\t")", R"("a\"\\\b\f\n\r\t")"},
  };
  for (const auto& [text, expected] : cases) {
    const auto rewritten = RewriteJson(text);
    ASSERT_TRUE(rewritten.ok()) << text << ": " << rewritten.status();
    EXPECT_EQ(*rewritten, expected);
  }
}

TEST(RewriteJsonTest, RefusesWhatIsNotJson) {
  for (const std::string text :
       {"",      " ",           "{",           "[1,]",        "{\"a\"}", "{\"a\":}", "{'a':1}",
        "01",    "1.",          ".5",          "1e",          "-",       "+1",       "nul",
        "NaN",   "\"\\ud800\"", "\"\\udc00\"", "\"\\u12g4\"", "\"a",     "\"\n\"",   "\"\\x\"",
        "[1] 2", "\"\xff\"",    "{\"a\":1,}",  "\"\\"}) {
    const auto rewritten = RewriteJson(text);
    EXPECT_EQ(rewritten.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(RewriteJson(std::string(100000, '[')).ok());
  EXPECT_THAT(RewriteJson("[1, x]").status().message(), HasSubstr("byte 4"));
}

}  // namespace
}  // namespace quartet::tokenizer
