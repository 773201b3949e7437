#include "cli/load_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace quartet::cli {
namespace {

std::string Row(const char* name, const Percentiles& p) {
  return absl::StrFormat("%-34s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name, p.mean, p.p50, p.p90,
                         p.p99, p.max);
}

nlohmann::ordered_json Json(const Percentiles& p) {
  return {{"mean", p.mean}, {"p50", p.p50}, {"p90", p.p90}, {"p99", p.p99}, {"max", p.max}};
}

}  // namespace

double Quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Percentiles Summarise(std::vector<double> values) {
  if (values.empty()) return Percentiles();
  std::sort(values.begin(), values.end());
  Percentiles p;
  p.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  p.p50 = Quantile(values, 0.5);
  p.p90 = Quantile(values, 0.9);
  p.p99 = Quantile(values, 0.99);
  p.max = values.back();
  return p;
}

LoadReport MakeLoadReport(const std::vector<RequestRecord>& records) {
  LoadReport report;
  report.num_requests = static_cast<int>(records.size());
  std::vector<double> ttft, gaps, request, speed;
  double first_sent = std::numeric_limits<double>::infinity(), last_finished = 0;
  for (const RequestRecord& record : records) {
    if (!record.ok) {
      if (report.num_failed++ == 0) report.first_error = record.error;
      continue;
    }
    first_sent = std::min(first_sent, record.sent);
    last_finished = std::max(last_finished, record.finished);
    report.num_cut += record.is_cut ? 1 : 0;
    report.prompt_tokens += record.prompt_tokens;
    report.cached_tokens += record.cached_tokens;
    report.output_tokens += record.output_tokens >= 0
                                ? record.output_tokens
                                : static_cast<long>(record.token_times.size());
    if (!record.is_cut) request.push_back(1000 * (record.finished - record.sent));
    if (record.token_times.empty()) continue;
    const std::vector<double>& times = record.token_times;
    ttft.push_back(1000 * (times.front() - record.sent));
    for (size_t i = 1; i < times.size(); ++i) gaps.push_back(1000 * (times[i] - times[i - 1]));
    if (times.back() > times.front()) {
      speed.push_back(static_cast<double>(times.size() - 1) / (times.back() - times.front()));
    }
  }
  report.duration_s = std::max(0.0, last_finished - first_sent);
  if (report.duration_s > 0) {
    report.requests_per_s = static_cast<double>(request.size()) / report.duration_s;
    report.output_tokens_per_s = static_cast<double>(report.output_tokens) / report.duration_s;
    report.total_tokens_per_s =
        static_cast<double>(report.prompt_tokens + report.output_tokens) / report.duration_s;
  }
  report.ttft_ms = Summarise(std::move(ttft));
  report.inter_token_ms = Summarise(std::move(gaps));
  report.request_ms = Summarise(std::move(request));
  report.output_tokens_per_s_per_request = Summarise(std::move(speed));
  return report;
}

std::string ToTrace(const std::vector<RequestRecord>& records, double clock_start) {
  std::string text;
  for (const RequestRecord& record : records) {
    std::vector<double> times = record.token_times;
    for (double& time : times) time += clock_start;
    const nlohmann::ordered_json json = {
        {"ok", record.ok},
        {"is_cut", record.is_cut},
        {"error", record.error},
        {"sent_s", record.sent + clock_start},
        {"finished_s", record.finished + clock_start},
        {"prompt_tokens", record.prompt_tokens},
        {"cached_tokens", record.cached_tokens},
        {"output_tokens", record.output_tokens},
        {"token_times_s", std::move(times)},
    };
    absl::StrAppend(&text, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                    "\n");
  }
  return text;
}

std::string ToText(const LoadReport& report) {
  std::string text = absl::StrFormat(
      "requests        %d finished, %d failed, in %.2f s: %.2f requests/s\n"
      "tokens          %d prompt, %d output: %.1f output tokens/s, %.1f tokens/s in all\n\n",
      report.num_requests - report.num_failed - report.num_cut, report.num_failed,
      report.duration_s, report.requests_per_s, report.prompt_tokens, report.output_tokens,
      report.output_tokens_per_s, report.total_tokens_per_s);
  absl::StrAppend(&text, absl::StrFormat("%-34s %10s %10s %10s %10s %10s\n", "", "mean", "p50",
                                         "p90", "p99", "max"));
  absl::StrAppend(&text, Row("time to first token, ms", report.ttft_ms));
  absl::StrAppend(&text, Row("inter-token latency, ms", report.inter_token_ms));
  absl::StrAppend(&text, Row("whole request, ms", report.request_ms));
  absl::StrAppend(&text, Row("tokens/s of one request", report.output_tokens_per_s_per_request));
  if (report.num_cut > 0) {
    absl::StrAppend(&text, "\n", report.num_cut, " requests were broken off at the end\n");
  }
  if (report.num_failed > 0) absl::StrAppend(&text, "\nfirst error: ", report.first_error, "\n");
  return text;
}

std::string ToJson(const LoadReport& report) {
  const nlohmann::ordered_json json = {
      {"num_requests", report.num_requests},
      {"num_failed", report.num_failed},
      {"num_cut", report.num_cut},
      {"first_error", report.first_error},
      {"duration_s", report.duration_s},
      {"prompt_tokens", report.prompt_tokens},
      {"cached_tokens", report.cached_tokens},
      {"output_tokens", report.output_tokens},
      {"requests_per_s", report.requests_per_s},
      {"output_tokens_per_s", report.output_tokens_per_s},
      {"total_tokens_per_s", report.total_tokens_per_s},
      {"ttft_ms", Json(report.ttft_ms)},
      {"inter_token_ms", Json(report.inter_token_ms)},
      {"request_ms", Json(report.request_ms)},
      {"output_tokens_per_s_per_request", Json(report.output_tokens_per_s_per_request)},
  };
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace quartet::cli
