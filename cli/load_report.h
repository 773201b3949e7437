// What a load test measured: from single requests to percentiles, as text and as JSON.
#pragma once

#include <string>
#include <vector>

namespace quartet::cli {

// One finished request. Times in seconds from the start of the run.
struct RequestRecord {
  bool ok = false;
  std::string error;
  double sent = 0;
  double finished = 0;
  bool is_cut = false;  // broken off by the end of the run; its tokens count, its duration doesn't
  int prompt_tokens = 0;
  int cached_tokens = 0;   // of prompt_tokens, from the prefix cache, as far as the server said
  int output_tokens = -1;  // as the server counted them; -1: it didn't say
  std::vector<double> token_times;  // one a generated token; text that is held back makes it fewer
};

struct Percentiles {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};

// The q-quantile, 0 <= q <= 1, by linear interpolation between order statistics (numpy's default).
// REQUIRES: not empty, sorted.
double Quantile(const std::vector<double>& sorted, double q);
// All zero if there are no values.
Percentiles Summarise(std::vector<double> values);

struct LoadReport {
  int num_requests = 0;
  int num_failed = 0;
  std::string first_error;
  double duration_s = 0;
  int num_cut = 0;
  long prompt_tokens = 0;
  long cached_tokens = 0;
  long output_tokens = 0;
  double requests_per_s = 0;
  double output_tokens_per_s = 0;
  double total_tokens_per_s = 0;
  Percentiles ttft_ms;                          // sent to first token
  Percentiles inter_token_ms;                   // between neighbouring tokens of one request
  Percentiles request_ms;                       // sent to finished
  Percentiles output_tokens_per_s_per_request;  // after its first token
};

// Failed requests count in num_failed alone.
LoadReport MakeLoadReport(const std::vector<RequestRecord>& records);
// One JSON object a request and line, with the time of every token, for analyses of one's own.
// `clock_start` is added to all times.
std::string ToTrace(const std::vector<RequestRecord>& records, double clock_start);
std::string ToText(const LoadReport& report);
std::string ToJson(const LoadReport& report);

}  // namespace quartet::cli
