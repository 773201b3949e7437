#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer_service/jinja/json_reader.h"
#include "tokenizer_service/jinja/print.h"

namespace quartet::tokenizer::jinja {
namespace {

using ::testing::HasSubstr;

TEST(JsonTest, IsWrittenAsPythonWritesIt) {
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
    Heap heap{Limits()};
    const auto value = ReadJson(text, &heap);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(*WriteJson(*value, JsonStyle(), &heap), expected);
  }
}

TEST(JsonTest, ManyKeysAreFoundAgain) {
  Heap heap{Limits()};
  std::string text = "{";
  for (int i = 0; i < 100; ++i)
    text += "\"k" + std::to_string(i) + "\": " + std::to_string(i) + ",";
  const auto value = ReadJson(text + "\"k7\": \"again\"}", &heap);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->dict().entries.size(), 100u);
  EXPECT_EQ(value->dict().Find("k99")->integer(), 99);
  EXPECT_EQ(value->dict().Find("k7")->text(), "again");
  EXPECT_EQ(value->dict().Find("k100"), nullptr);
}

TEST(JsonTest, RefusesWhatIsNotJson) {
  Heap heap{Limits()};
  for (const std::string text :
       {"",      " ",           "{",           "[1,]",        "{\"a\"}", "{\"a\":}", "{'a':1}",
        "01",    "1.",          ".5",          "1e",          "-",       "+1",       "nul",
        "NaN",   "\"\\ud800\"", "\"\\udc00\"", "\"\\u12g4\"", "\"a",     "\"\n\"",   "\"\\x\"",
        "[1] 2", "\"\xff\"",    "{\"a\":1,}",  "\"\\"}) {
    const auto value = ReadJson(text, &heap);
    EXPECT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ReadJson(std::string(100000, '['), &heap).ok());
  EXPECT_THAT(ReadJson("[1, x]", &heap).status().message(), HasSubstr("byte 4"));
}

}  // namespace
}  // namespace quartet::tokenizer::jinja
