#include "cli/readiness_probe.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "cli/http_client.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPause(100);
// Long, because the first token of a large model on a slow machine takes its time.
constexpr milliseconds kRequestTimeout(120'000);
// How often the log says what is being waited for.
constexpr std::chrono::seconds kReportEvery(15);

constexpr char kProbeBody[] = R"({"prompt":"Hello","max_tokens":1,"temperature":0})";

}  // namespace

absl::StatusOr<Endpoints> ParseAnnouncement(absl::string_view json) {
  const auto parsed = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  if (!parsed.is_object() || !parsed.contains("http_port") || !parsed.contains("grpc_port") ||
      !parsed["http_port"].is_number_integer() || !parsed["grpc_port"].is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat("not an announcement: ", json));
  }
  return Endpoints{parsed["http_port"].get<int>(), parsed["grpc_port"].get<int>()};
}

ReadinessProbe::ReadinessProbe(std::vector<std::string> announce_files, std::string host)
    : announce_files_(std::move(announce_files)),
      host_(std::move(host)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

ReadinessProbe::~ReadinessProbe() {
  stop_ = true;
  thread_.join();
}

std::vector<Endpoints> ReadinessProbe::TakeResult() {
  uint64_t value = 0;
  [[maybe_unused]] const ssize_t n = read(event_.get(), &value, sizeof(value));
  std::lock_guard<std::mutex> lock(mutex_);
  return result_;
}

absl::Status ReadinessProbe::ProbeOnce(const std::string& announce_file, Endpoints* endpoints) {
  std::ifstream file(announce_file);
  if (!file) return absl::UnavailableError("the gateway does not listen yet");
  std::stringstream text;
  text << file.rdbuf();
  ASSIGN_OR_RETURN(*endpoints, ParseAnnouncement(text.str()));
  const HttpRequest request{host_, endpoints->http_port, "POST", "/v1/completions", kProbeBody};
  ASSIGN_OR_RETURN(const HttpResponse response,
                   Fetch(request, kRequestTimeout, [this] { return stop_.load(); }));
  if (response.status == 200) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("HTTP ", response.status, ": ", response.body.substr(0, 300)));
}

void ReadinessProbe::Run() {
  auto last_report = std::chrono::steady_clock::now();
  std::vector<Endpoints> found;
  while (!stop_) {
    Endpoints endpoints;
    const absl::Status status = ProbeOnce(announce_files_[found.size()], &endpoints);
    if (status.ok()) {
      found.push_back(endpoints);
      if (found.size() < announce_files_.size()) continue;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        result_ = found;
      }
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = write(event_.get(), &one, sizeof(one));
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - last_report >= kReportEvery) {
      last_report = now;
      common::LogInfo("not ready yet", {{"answer", std::string(status.message())}});
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace quartet::cli
