// Grammars over single bytes: what they allow, how bad ones are refused, and that nothing that a
// user sends takes long or ends the process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "worker/grammar/allocation_budget.h"
#include "worker/grammar/testing/text_grammar.h"

namespace quartet::grammar {
namespace {

using ::testing::HasSubstr;
using Kind = OutputFormat::Kind;

bool IsAllowed(const std::vector<uint32_t>& mask, int id) { return mask[id / 32] >> (id % 32) & 1; }

TEST(XgrammarBackendTest, MasksSayWhatMayCome) {
  const Compiled grammar = CompileFormat(Kind::kRegex, "[ab]c?");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  const auto matcher = (*grammar)->NewMatcher().value();
  std::vector<uint32_t> mask((kByteVocabSize + 31) / 32, ~0u);
  ASSERT_TRUE(matcher->FillMask(mask).ok());
  for (int id = 0; id < kByteVocabSize; ++id)
    EXPECT_EQ(IsAllowed(mask, id), id == 'a' || id == 'b');
  EXPECT_FALSE(matcher->CanEnd());
  ASSERT_TRUE(matcher->Accept('b').ok());
  ASSERT_TRUE(matcher->FillMask(mask).ok());
  for (int id = 0; id < kByteVocabSize; ++id) EXPECT_EQ(IsAllowed(mask, id), id == 'c');
  EXPECT_TRUE(matcher->CanEnd());
  EXPECT_FALSE(matcher->Accept('x').ok());
}

TEST(XgrammarBackendTest, SpecialTokensAndPaddingAreNeverText) {
  const Compiled grammar = CompileFormat(Kind::kRegex, ".*");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  const auto matcher = (*grammar)->NewMatcher().value();
  std::vector<uint32_t> mask((kByteVocabSize + 31) / 32, ~0u);
  ASSERT_TRUE(matcher->FillMask(mask).ok());
  for (int id = 256; id < kByteVocabSize; ++id) EXPECT_FALSE(IsAllowed(mask, id)) << id;
  EXPECT_FALSE(matcher->Accept(256).ok());
  EXPECT_FALSE(matcher->Accept(258).ok());
}

TEST(XgrammarBackendTest, BadFormatsNameTheirField) {
  const std::pair<Kind, std::pair<const char*, const char*>> kCases[] = {
      {Kind::kEbnf, {"root ::= missing", "ebnf_grammar"}},
      {Kind::kEbnf, {"other ::= \"a\"", "ebnf_grammar"}},
      {Kind::kEbnf, {"root ::= (((", "ebnf_grammar"}},
      {Kind::kEbnf, {"root ::= Regex(\"a(?=b)\")", "ebnf_grammar"}},
      {Kind::kRegex, {"(a", "regex"}},
      {Kind::kRegex, {"a{3,2}", "regex"}},
      {Kind::kRegex, {"a**", "regex"}},
      {Kind::kRegex, {"\\p{L}", "regex"}},
      {Kind::kRegex, {"(a)\\1", "regex"}},
      {Kind::kRegex, {"[b-a]", "regex"}},
      {Kind::kRegex, {"\xff", "regex"}},
      {Kind::kStructuralTag, {"[]", "structural_tag"}},
      {Kind::kStructuralTag, {R"({"format":{"type":"what"}})", "structural_tag"}},
      {Kind::kStructuralTag,
       {R"({"format":{"type":"json_schema","json_schema":{"not":{}}}})", "\"not\""}},
  };
  for (const auto& [kind, text] : kCases) {
    const Compiled grammar = CompileFormat(kind, text.first);
    EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << text.first;
    EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(text.second));
  }
}

TEST(XgrammarBackendTest, OldStructuralTags) {
  const Compiled grammar = CompileFormat(
      Kind::kStructuralTag,
      R"({"structures":[{"begin":"<f>","schema":{"type":"integer"},"end":"</f>"}],"triggers":["<f"]})");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Fits(**grammar, "free text <f>12</f> more"));
  EXPECT_FALSE(Fits(**grammar, "free <f>x</f>"));
}

// Each is bounded: either it is compiled, or it is refused; never for longer than the limit.
TEST(XgrammarBackendTest, PathologicalFormatsAreBounded) {
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 4000; ++i)
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  chain += "r4000 ::= \"a\"\n";
  std::string doubling = "root ::= r0\n";
  for (int i = 0; i < 40; ++i) {
    const std::string next = "r" + std::to_string(i + 1);
    doubling += "r" + std::to_string(i) + " ::= " + next + " " + next + "\n";
  }
  doubling += "r40 ::= \"a\"\n";
  const std::pair<Kind, std::string> kFormats[] = {
      {Kind::kEbnf, "root ::= " + std::string(60'000, '(') + "\"a\"" + std::string(60'000, ')')},
      {Kind::kEbnf, "root ::= \"a\"{1,100000}"},
      {Kind::kEbnf, "root ::= ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}"},
      {Kind::kEbnf, "root ::= root root | \"a\" | \"\""},
      {Kind::kEbnf, chain},
      {Kind::kEbnf, doubling},
      {Kind::kRegex, std::string(60'000, '(')},
      {Kind::kRegex, "((a|b|ab)*)*(((a*)*)*)*"},
      {Kind::kRegex, ".{0,20000}"},
      {Kind::kJsonSchema,
       R"({"items":{"items":{"minItems":9000},"minItems":9000},"minItems":9000})"},
  };
  CompileLimits limits;
  limits.time = absl::Milliseconds(80);
  limits.memory_bytes = size_t{64} << 20;
  for (const auto& [kind, text] : kFormats) {
    const absl::Time start = absl::Now();
    const Compiled grammar = CompileFormat(kind, text, limits);
    EXPECT_LT(absl::Now() - start, absl::Seconds(5)) << text.substr(0, 60);
    if (!grammar.ok()) {
      EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 60);
      continue;
    }
    const auto matcher = (*grammar)->NewMatcher();
    if (!matcher.ok()) continue;
    std::vector<uint32_t> mask((kByteVocabSize + 31) / 32);
    for (int i = 0; i < 50 && (*matcher)->FillMask(mask).ok(); ++i) {
      if (!(*matcher)->Accept('a').ok()) break;
    }
    EXPECT_LT(absl::Now() - start, absl::Seconds(20)) << text.substr(0, 60);
  }
}

// Whatever allocation is the one too many, the work ends with a status.
TEST(XgrammarBackendTest, AnyAllocationMayBeTheLast) {
  CompileLimits limits;
  for (size_t bytes = 1000; bytes < 3'000'000; bytes += 1 + bytes / 40) {
    limits.memory_bytes = bytes;
    const Compiled grammar = CompileFormat(
        Kind::kJsonSchema,
        R"({"properties":{"a":{"type":"integer"},"b":{"items":{"$ref":"#"}}},"required":["a"]})",
        limits);
    const absl::StatusCode code = grammar.status().code();
    EXPECT_TRUE(grammar.ok() || code == absl::StatusCode::kInvalidArgument) << grammar.status();
  }
  const Compiled tag = CompileFormat(
      Kind::kStructuralTag,
      R"({"format":{"type":"tag","begin":"a","content":{"type":"any_text"},"end":"b"}})");
  EXPECT_TRUE(tag.ok()) << tag.status();
}

TEST(XgrammarBackendTest, RandomFormatsNeverEndTheProcess) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string kSeeds[] = {
      R"({"type":"object","properties":{"a":{"anyOf":[{"type":"integer","minimum":1},{"$ref":"#"}]}}})",
      R"({"format":{"type":"triggered_tags","triggers":["<"],"tags":[{"begin":"<a>","content":)"
      R"({"type":"regex","pattern":"a+"},"end":"</a>"}]}})",
      "root ::= (\"a\" | b){1,3} [^x-z]*\nb ::= \"q\" root? (= \"e\")\n",
      "^(a|[b-d]{2,3})+\\d?$",
  };
  CompileLimits limits;
  limits.time = absl::Milliseconds(50);
  limits.memory_bytes = size_t{16} << 20;
  const std::string kCharacters = "{}[]()\"'\\:,|*+?^$=-<>aroot0123456789 \n#.&";
  for (int i = 0; i < 300; ++i) {
    const size_t which = random() % 4;
    std::string text = kSeeds[which];
    for (unsigned edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = kCharacters[random() % kCharacters.size()];
          break;
        case 1:
          text.erase(at, 1 + random() % 3);
          break;
        default:
          text = absl::StrCat(text.substr(0, at),
                              text.substr(random() % text.size(), random() % 12), text.substr(at));
      }
      if (text.empty()) break;
    }
    constexpr Kind kKinds[] = {Kind::kJsonSchema, Kind::kStructuralTag, Kind::kEbnf, Kind::kRegex};
    const Compiled grammar = CompileFormat(kKinds[which], text, limits);
    if (!grammar.ok()) continue;
    const auto matcher = (*grammar)->NewMatcher();
    std::vector<uint32_t> mask((kByteVocabSize + 31) / 32);
    for (int step = 0; matcher.ok() && step < 20; ++step) {
      if (!(*matcher)->FillMask(mask).ok()) break;
      int id = static_cast<int>(random() % 256);
      for (int tries = 0; tries < 256 && !IsAllowed(mask, id); ++tries) id = (id + 1) % 256;
      if (!IsAllowed(mask, id)) break;
      EXPECT_TRUE((*matcher)->Accept(id).ok()) << text;
    }
  }
}

}  // namespace
}  // namespace quartet::grammar
