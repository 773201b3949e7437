#include "cli/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace quartet::cli {
namespace {

using ::testing::HasSubstr;

// Expected values are numpy.quantile's.
TEST(QuantileTest, InterpolatesBetweenNeighbours) {
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.9), 3.7);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 1), 4);
  EXPECT_DOUBLE_EQ(Quantile({7}, 0.99), 7);
}

TEST(SummariseTest, SortsAndCopesWithNothing) {
  const Percentiles p = Summarise({30, 10, 20});
  EXPECT_DOUBLE_EQ(p.mean, 20);
  EXPECT_DOUBLE_EQ(p.p50, 20);
  EXPECT_DOUBLE_EQ(p.max, 30);
  EXPECT_EQ(Summarise({}).p99, 0);
}

RequestRecord Record(double sent, std::vector<double> token_times, double finished) {
  RequestRecord record;
  record.ok = true;
  record.sent = sent;
  record.finished = finished;
  record.prompt_tokens = 10;
  record.token_times = std::move(token_times);
  return record;
}

TEST(LoadReportTest, MeasuresFromSendingToEachToken) {
  RequestRecord failed;
  failed.error = "UNAVAILABLE";
  const LoadReport report =
      MakeLoadReport({Record(1, {1.5, 1.6, 1.8}, 1.9), failed, Record(2, {2.1}, 3)});
  EXPECT_EQ(report.num_requests, 3);
  EXPECT_EQ(report.num_failed, 1);
  EXPECT_EQ(report.output_tokens, 4);
  EXPECT_EQ(report.prompt_tokens, 20);
  EXPECT_DOUBLE_EQ(report.duration_s, 2);
  EXPECT_DOUBLE_EQ(report.output_tokens_per_s, 2);
  EXPECT_DOUBLE_EQ(report.requests_per_s, 1);
  EXPECT_NEAR(report.ttft_ms.mean, 300, 1e-6);
  EXPECT_NEAR(report.inter_token_ms.p50, 150, 1e-6);
  EXPECT_NEAR(report.inter_token_ms.max, 200, 1e-6);
  EXPECT_NEAR(report.output_tokens_per_s_per_request.mean, 2 / 0.3, 1e-6);
}

TEST(LoadReportTest, TextAndJsonAgree) {
  const LoadReport report = MakeLoadReport({Record(0, {0.25, 0.5}, 0.5)});
  EXPECT_THAT(ToText(report), HasSubstr("250.00"));
  const auto json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["ttft_ms"]["p99"], 250);
  EXPECT_EQ(json["num_failed"], 0);
}

TEST(LoadReportTest, ARequestThatWasBrokenOffCountsItsTokensAlone) {
  RequestRecord cut = Record(0, {0.5, 1}, 1.5);
  cut.is_cut = true;
  cut.cached_tokens = 3;
  const LoadReport report = MakeLoadReport({cut, Record(0, {0.25}, 1)});
  EXPECT_EQ(report.num_cut, 1);
  EXPECT_EQ(report.num_failed, 0);
  EXPECT_EQ(report.output_tokens, 3);
  EXPECT_EQ(report.cached_tokens, 3);
  EXPECT_DOUBLE_EQ(report.request_ms.max, 1000);
  EXPECT_DOUBLE_EQ(report.requests_per_s, 1 / 1.5);
}

TEST(LoadReportTest, ATraceHasALineARequest) {
  const std::string trace = ToTrace({Record(1, {1.5, 1.75}, 2), RequestRecord()}, 1000);
  const auto first = nlohmann::json::parse(trace.substr(0, trace.find('\n')));
  EXPECT_EQ(first["sent_s"], 1001);
  EXPECT_EQ(first["token_times_s"], nlohmann::json({1001.5, 1001.75}));
  EXPECT_EQ(std::count(trace.begin(), trace.end(), '\n'), 2);
}

TEST(LoadReportTest, NothingFinishedDividesByNothing) {
  const LoadReport report = MakeLoadReport({RequestRecord()});
  EXPECT_EQ(report.output_tokens_per_s, 0);
  EXPECT_THAT(ToText(report), HasSubstr("0 finished, 1 failed"));
}

}  // namespace
}  // namespace quartet::cli
