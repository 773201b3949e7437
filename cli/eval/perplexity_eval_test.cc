#include "cli/eval/perplexity_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace quartet::cli::eval {
namespace {

using ::testing::HasSubstr;

TEST(ResolveWindowsTest, DefaultsAndBounds) {
  PerplexityOptions options;
  ASSERT_TRUE(ResolveWindows({"m", 8192, true}, &options).ok());
  EXPECT_EQ(options.context, 2048);
  EXPECT_EQ(options.stride, 1024);
  options = {};
  ASSERT_TRUE(ResolveWindows({"m", 1001, true}, &options).ok());
  EXPECT_EQ(options.context, 1000);
  for (const auto& [context, stride] :
       {std::pair<int64_t, int64_t>{1001, 5}, {1, 1}, {100, 100}, {100, -1}}) {
    options = {};
    options.context = context;
    options.stride = stride;
    const absl::Status status = ResolveWindows({"m", 1001, true}, &options);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << context << " " << stride;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::to_string(context > 1000 || context < 2 ? context : stride)));
  }
}

TEST(PerplexityReportTest, HasAllNumbers) {
  PerplexityOptions options;
  options.context = 100;
  options.stride = 50;
  const Report report = MakePerplexityReport(options, {"toy", 1000, true},
                                             {{"de.txt", 3, 1, {2, 4, std::log(16.0)}}});
  EXPECT_EQ(report.table,
            "file    bytes  tokens  bytes/token  nats/token  perplexity  bits/byte\n"
            "------  -----  ------  -----------  ----------  ----------  ---------\n"
            "de.txt      4       2         2.00      1.3863       4.000     1.0000\n");
  const auto json = nlohmann::json::parse(report.json);
  EXPECT_DOUBLE_EQ(json["files"][0]["perplexity"], 4.0);
  EXPECT_EQ(json["stride"], 50);
  EXPECT_THAT(report.svg, HasSubstr("de.txt"));
}

}  // namespace
}  // namespace quartet::cli::eval
