#include "cli/eval/needle_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace quartet::cli::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ContainsNumberTest, TakesTheNumberInAnyDressButNoOther) {
  EXPECT_TRUE(ContainsNumber("It is 1234567.", "1234567"));
  EXPECT_TRUE(ContainsNumber("1,234,567", "1234567"));
  EXPECT_TRUE(ContainsNumber("**1 234 567**", "1234567"));
  EXPECT_FALSE(ContainsNumber("12345678", "1234567"));
  EXPECT_FALSE(ContainsNumber("1234 is 567", "1234567"));
  EXPECT_FALSE(ContainsNumber("", "1234567"));
}

TEST(ResolveLengthsTest, DefaultsDoubleUntilTheContextEnds) {
  NeedleOptions options;
  options.max_tokens = 48;
  const ServedModel model{"m", 2048, true};
  EXPECT_THAT(*ResolveLengths(options, model), ElementsAre(512, 1024, 2000));
  options.lengths = {128, 2000};
  EXPECT_THAT(*ResolveLengths(options, model), ElementsAre(128, 2000));
  for (int64_t wrong : {2001, 127, -5}) {
    options.lengths = {wrong};
    EXPECT_THAT(std::string(ResolveLengths(options, model).status().message()),
                HasSubstr(std::to_string(wrong)));
  }
}

TEST(NeedleReportTest, SharesAreOfEachCell) {
  NeedleOptions options;
  options.lengths = {512, 1024};
  options.depths = {0, 100};
  options.repeats = 2;
  std::vector<NeedleCase> cases;
  for (int i = 0; i < 8; ++i) {
    // Found: all of 512, one of two at (1024, 0), none at (1024, 100).
    cases.push_back({i < 4 ? 512 : 1024, i % 4 < 2 ? 0 : 100, "1", "a", 500, i < 5});
  }
  const Report report = MakeNeedleReport(options, {"toy", 2048, true}, cases);
  EXPECT_EQ(report.table,
            "depth   512  1024\n"
            "-----  ----  ----\n"
            "0%     100%   50%\n"
            "100%   100%    0%\n"
            "all    100%   25%\n");
  const auto json = nlohmann::json::parse(report.json);
  EXPECT_EQ(json["recall"][1], (nlohmann::json{{"length", 512}, {"depth", 100}, {"recall", 1.0}}));
  EXPECT_EQ(json["cases"].size(), 8u);
  EXPECT_THAT(report.svg, HasSubstr("50%"));
}

}  // namespace
}  // namespace quartet::cli::eval
