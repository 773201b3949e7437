// `quartet bench`: a load on a server, and what came of it as text and JSON.

#include <chrono>
#include <cstdio>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/flag_set.h"
#include "cli/http_load_client.h"
#include "cli/load_client.h"
#include "cli/load_report.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

absl::Status CheckAtLeast(absl::string_view name, double value, double low) {
  if (value >= low) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": must be at least ", low));
}

absl::Status WriteFile(absl::string_view flag, const std::string& path, const std::string& text) {
  std::ofstream file(path);
  if ((file << text).flush()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("--", flag, "=", path, ": can't write it"));
}

struct ReportFiles {
  std::string json;
  std::string trace;
};

absl::Status Report(const std::vector<RequestRecord>& records, double clock_start,
                    const ReportFiles& files) {
  const LoadReport report = MakeLoadReport(records);
  std::fputs((files.json == "-" ? ToJson(report) : ToText(report)).c_str(), stdout);
  if (!files.json.empty() && files.json != "-") {
    RETURN_IF_ERROR(WriteFile("json", files.json, ToJson(report)));
  }
  if (!files.trace.empty()) {
    RETURN_IF_ERROR(WriteFile("trace", files.trace, ToTrace(records, clock_start)));
  }
  if (report.num_failed == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(report.num_failed, " of ", report.num_requests,
                                             " requests failed; the first: ", report.first_error));
}

}  // namespace

absl::Status Bench(const Arguments& arguments) {
  LoadOptions options;
  int64_t num_requests = options.num_requests, concurrency = options.concurrency;
  int64_t prompt_tokens = options.prompt_tokens, output_tokens = options.output_tokens, seed = 0;
  ReportFiles files;
  FlagSet flags("bench", "[flags]",
                "Sends requests with random prompts over gRPC or HTTP and reports time to first "
                "token, inter-token latency and throughput. Closed loop by default; --request_rate "
                "makes requests arrive at "
                "random times instead.");
  flags.Add("address", &options.address,
            "Where the server's gRPC API is, or http://HOST:PORT for its HTTP API.");
  flags.Add("num_requests", &num_requests, "Requests in all.");
  flags.Add("request_rate", &options.request_rate, "Arrivals a second (Poisson); 0: closed loop.");
  flags.Add("concurrency", &concurrency, "Closed loop: requests that run at any time.");
  flags.Add("prompt_tokens", &prompt_tokens, "Length of each prompt.");
  flags.Add("output_tokens", &output_tokens, "Longest output of each request.");
  flags.Add("ignore_eos", &options.ignore_eos,
            "Generate all output tokens, whatever the model says.");
  flags.Add("temperature", &options.temperature, "Sampling temperature; 0 is greedy.");
  flags.Add("seed", &seed, "Seed of prompts, arrivals and sampling.");
  flags.Add("duration_s", &options.duration_s,
            "HTTP only: seconds after which running requests are broken off; 0: never.");
  flags.Add("json", &files.json, "File for the report as JSON; - prints it instead of the text.");
  flags.Add("trace", &files.trace,
            "File for one line of JSON a request: when it was sent and when each token came, in "
            "seconds of the machine's monotonic clock.");
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  if (!rest.empty()) return absl::InvalidArgumentError(absl::StrCat("'", rest[0], "' is no flag"));
  RETURN_IF_ERROR(CheckAtLeast("num_requests", static_cast<double>(num_requests), 1));
  RETURN_IF_ERROR(CheckAtLeast("concurrency", static_cast<double>(concurrency), 1));
  RETURN_IF_ERROR(CheckAtLeast("prompt_tokens", static_cast<double>(prompt_tokens), 1));
  RETURN_IF_ERROR(CheckAtLeast("output_tokens", static_cast<double>(output_tokens), 1));
  RETURN_IF_ERROR(CheckAtLeast("request_rate", options.request_rate, 0));
  RETURN_IF_ERROR(CheckAtLeast("seed", static_cast<double>(seed), 0));
  RETURN_IF_ERROR(CheckAtLeast("duration_s", options.duration_s, 0));
  options.num_requests = static_cast<int>(num_requests);
  options.concurrency = static_cast<int>(concurrency);
  options.prompt_tokens = static_cast<int>(prompt_tokens);
  options.output_tokens = static_cast<int>(output_tokens);
  options.seed = static_cast<uint64_t>(seed);

  const bool is_http = absl::StartsWith(options.address, "http://");
  if (!is_http && (options.duration_s != 0 || !files.trace.empty())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--duration_s and --trace need --address=http://HOST:PORT, not ", options.address));
  }
  const double clock_start =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  ASSIGN_OR_RETURN(const std::vector<RequestRecord> records,
                   is_http ? RunHttpLoad(options) : RunLoad(options));
  return Report(records, clock_start, files);
}

}  // namespace quartet::cli
