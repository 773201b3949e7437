#include "gateway/tool_call_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// "content" as it is, "[name]" for a call, arguments behind it; neighbours of a kind joined.
std::string Show(const std::vector<ToolCallPart>& parts) {
  std::string shown;
  for (const ToolCallPart& part : parts) {
    if (part.kind == ToolCallPart::Kind::kCall) {
      absl::StrAppend(&shown, "[", part.call, ":", part.text, "]");
    } else {
      absl::StrAppend(&shown, part.text);
    }
  }
  return shown;
}

std::string ParseInPieces(const std::vector<std::string>& pieces, uint32_t max_calls = 1000,
                          bool only_calls = false) {
  ToolCallParser parser({max_calls, only_calls});
  std::vector<ToolCallPart> all;
  for (const std::string& piece : pieces) {
    for (ToolCallPart& part : parser.Feed(piece)) all.push_back(std::move(part));
  }
  for (ToolCallPart& part : parser.Finish()) all.push_back(std::move(part));
  return Show(all);
}

std::string Parse(const std::string& text, uint32_t max_calls = 1000) {
  return ParseInPieces({text}, max_calls);
}

std::string Call(const std::string& name, const std::string& arguments) {
  return absl::StrCat("<tool_call>\n{\"name\": \"", name, "\", \"arguments\": ", arguments,
                      "}\n</tool_call>");
}

TEST(ToolCallParserTest, TextWithoutCallsIsUnchanged) {
  for (const std::string text : {"", " a  b\n\n", "\n\n", "1 < 2 <tool", "<tool_calls> <tool_cal",
                                 "</tool_call>", "中文 <b>x</b>  "}) {
    EXPECT_EQ(Parse(text), text);
  }
}

TEST(ToolCallParserTest, CallsComeOutWithTheModelsOwnArguments) {
  EXPECT_EQ(Parse(Call("f", "{\"a\": [1, {\"b\": \"}\\\"]\"}],  \"c\":null }")),
            "[0:f]{\"a\": [1, {\"b\": \"}\\\"]\"}],  \"c\":null }");
  EXPECT_EQ(Parse(Call("f", "{}") + "\n" + Call("g.h-1", "{\"x\": \"牛\"}")),
            "[0:f]{}[1:g.h-1]{\"x\": \"牛\"}");
  EXPECT_EQ(Parse("<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>"), "[0:f]{}");
}

TEST(ToolCallParserTest, WhiteSpaceAroundCallsIsDropped) {
  EXPECT_EQ(Parse(" Let me see.\n\n" + Call("f", "{}") + "\n\n done \n" + Call("g", "{}") + "\n"),
            " Let me see.[0:f]{}done[1:g]{}");
  EXPECT_EQ(Parse("\n" + Call("f", "{}") + " and \n"), "[0:f]{}and \n");
}

TEST(ToolCallParserTest, TagsInsideArgumentsAreArguments) {
  EXPECT_EQ(Parse(Call("f", "{\"a\": \"</tool_call><tool_call>\"}") + Call("g", "{}")),
            "[0:f]{\"a\": \"</tool_call><tool_call>\"}[1:g]{}");
}

TEST(ToolCallParserTest, OtherOrdersOfTheFieldsAreUnderstood) {
  EXPECT_EQ(Parse("<tool_call>\n{\"arguments\": {\"a\": 1}, \"id\": [\"}\"], \"name\": \"f\"}\n"
                  "</tool_call>"),
            "[0:f]{\"a\": 1}");
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\"}</tool_call>"), "[0:f]{}");
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>"), "[0:f]{}");
}

TEST(ToolCallParserTest, AWrongNumberOfClosingBracesIsForgiven) {
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\", \"arguments\": {}\n</tool_call>x"), "[0:f]{}x");
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\", \"arguments\": {}}}}</tool_call>x"), "[0:f]{}x");
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call>x"),
            "[0:f]{\"a\": 1x");
}

TEST(ToolCallParserTest, WhatIsNoCallIsContent) {
  for (const std::string text : {
           "a <tool_call> b",
           "<tool_call>\n</tool_call>",
           "<tool_call>f(1)</tool_call>\n",
           "<tool_call>\n{\"name\": 5, \"arguments\": {}}\n</tool_call>",
           "<tool_call>\n{\"name\": \"\", \"arguments\": {}}\n</tool_call>",
           "<tool_call>\n{\"name\": \"f\", \"arguments\": \"{}\"}\n</tool_call>",
           "<tool_call>\n{\"name\": \"f\", \"arguments\": [1]}\n</tool_call>",
           "<tool_call>\n{\"name\": \"f\\n\", \"arguments\": {}}\n</tool_call>",
           "<tool_call>\n{\"title\": \"f\"}\n</tool_call>",
           "<tool_call>\n{\"name\": \"f\", ",
           "<tool_call>",
       }) {
    EXPECT_EQ(Parse(text), text);
  }
  EXPECT_EQ(Parse("a <tool_call> b " + Call("f", "{}")), "a <tool_call> b[0:f]{}");
  EXPECT_EQ(Parse("<tool_call>{\"x\"" + Call("f", "{}")), "<tool_call>{\"x\"[0:f]{}");
  EXPECT_EQ(Parse("<tool_call>{\"name\": \"f\", \"arguments\": {}, \"id\": 1}</tool_call>"),
            "[0:f]{}, \"id\": 1}</tool_call>");
}

TEST(ToolCallParserTest, CallsThatBreakOffKeepWhatTheyHave) {
  EXPECT_EQ(Parse("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"b"), "[0:f]{\"a\": \"b");
  EXPECT_EQ(Parse("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool"),
            "[0:f]{\"a\": 1}");
  EXPECT_EQ(Parse("<tool_call>{\"arguments\": {}, \"name\": \"f\"}"), "[0:f]{}");
}

TEST(ToolCallParserTest, NothingFollowsTheLastCallThatMayBeMade) {
  EXPECT_EQ(Parse(absl::StrCat("a", Call("f", "{}"), "b", Call("g", "{}"), "c"), 1), "a[0:f]{}");
  EXPECT_EQ(Parse(absl::StrCat("a", Call("f", "{}"), "b", Call("g", "{}"), "c"), 2),
            "a[0:f]{}b[1:g]{}");
}

TEST(ToolCallParserTest, WhereOnlyCallsCanBeTheRestOfOneIsDropped) {
  const std::string call = Call("f", "{}");
  EXPECT_EQ(ParseInPieces({call, "\n<tool_call>\n{\"na"}, 9, /*only_calls=*/true), "[0:f]{}");
  EXPECT_EQ(ParseInPieces({call, "\n<tool"}, 9, /*only_calls=*/true), "[0:f]{}");
  EXPECT_EQ(ParseInPieces({call, "\n", call}, 9, /*only_calls=*/true), "[0:f]{}[1:f]{}");
}

TEST(ToolCallParserTest, ArgumentsAreNotHeldBack) {
  ToolCallParser parser;
  const auto kinds = [&](const char* text) { return Show(parser.Feed(text)); };
  EXPECT_EQ(kinds("Well <tool_"), "Well");
  EXPECT_EQ(kinds("call>\n{\"name\": \"get"), "");
  EXPECT_EQ(kinds("_time\", \"arguments\": "), "");
  EXPECT_EQ(kinds("{\"zo"), "[0:get_time]{\"zo");
  EXPECT_EQ(kinds("ne\": \"<"), "ne\": \"<");
  EXPECT_EQ(kinds("CET\""), "CET\"");
  EXPECT_EQ(kinds("}"), "}");
  EXPECT_EQ(kinds("}\n</tool_call>"), "");
  EXPECT_THAT(parser.Finish(), IsEmpty());
  EXPECT_EQ(parser.num_calls(), 1u);
}

// Texts of the tags, of pieces of them, and of what belongs between them, in random order.
std::string RandomText(std::mt19937& random) {
  static const char* const kPieces[] = {"<tool_call>", "</tool_call>",
                                        "\n",          "{\"name\": \"f\", \"arguments\": ",
                                        "{\"a\": 1}",  "{",
                                        "}",           "\"",
                                        "\\",          " ",
                                        "<tool",       "</tool_call",
                                        "text",        "牛",
                                        "\"name\"",    ": ",
                                        ", ",          "[",
                                        "]",           "\"arguments\": {\"b\": \"x\"}"};
  std::string text;
  for (int n = random() % 24; n > 0; --n) {
    const uint32_t kind = random() % 8;
    if (kind == 0) {
      text += Call("g", "{\"k\": [\"v\", {}]}");
    } else if (kind == 1) {
      text += "<tool_call>\n{\"name\": \"f\", \"arguments\": {";
    } else {
      text += kPieces[random() % std::size(kPieces)];
    }
  }
  return text;
}

TEST(ToolCallParserTest, AnyChunkingGivesTheSame) {
  const uint32_t seed = std::random_device()();
  std::mt19937 random(seed);
  size_t num_with_calls = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string text = RandomText(random);
    const std::string whole = Parse(text);
    num_with_calls += whole.find("[0:") != std::string::npos;
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % (round % 2 == 0 ? 1 : 9);
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    ASSERT_EQ(ParseInPieces(pieces), whole) << "seed " << seed << ", text: " << text;
  }
  EXPECT_GT(num_with_calls, 2000u);
}

TEST(ToolCallParserTest, LongHeadsAndManyTagsAreReadInLinearTime) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "<tool_call>{";
  EXPECT_EQ(Parse(text), text);
  const std::string padded =
      absl::StrCat("<tool_call>", std::string(2000, ' '), "{\"name\": \"f\", \"arguments\": {}}");
  EXPECT_EQ(Parse(padded), ParseInPieces({padded.substr(0, 1500), padded.substr(1500)}));
  const std::string slow = absl::StrCat("<tool_call>{", std::string(2000, ' '),
                                        "\"name\": \"f\", \"arguments\": {}}</tool_call>");
  EXPECT_EQ(Parse(slow), "[0:f]{}");
  EXPECT_EQ(ParseInPieces({slow.substr(0, 1500), slow.substr(1500)}), "[0:f]{}");
}

}  // namespace
}  // namespace quartet::gateway
