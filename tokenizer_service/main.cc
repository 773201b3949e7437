// quartet-tokenizer: loads a vocabulary and serves it over gRPC until SIGTERM.
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "common/heartbeat.h"
#include "common/logging.h"
#include "common/program.h"
#include "common/server_runner.h"
#include "common/status_macros.h"
#include "tokenizer_service/tokenizer.h"
#include "tokenizer_service/tokenizer_service.h"
#include "tokenizer_service/work_pool.h"

ABSL_FLAG(std::string, model, "", "Model directory (with tokenizer.json), or a .gguf file.");
ABSL_FLAG(std::string, address, "unix:/tmp/quartet-tokenizer.sock",
          "Where to listen: unix:/path or host:port; port 0 picks a free one.");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warning or error.");
ABSL_FLAG(uint64_t, max_text_bytes, 16u << 20, "Longer texts are refused.");
ABSL_FLAG(
    int, heartbeat_fd, -1,
    "File descriptor of a pipe that gets a byte a second while the process is well; -1: none. "
    "`quartet serve` passes it.");
ABSL_FLAG(bool, die_with_parent, false, "End when the parent process does.");

namespace quartet::tokenizer {
namespace {

struct Options {
  std::string model;
  std::string address;
  common::LogLevel log_level;
  TokenizerOptions tokenizer;
  bool die_with_parent;
  int heartbeat_fd;
};

// Calls that run when the process is told to stop get this long to end.
constexpr std::chrono::milliseconds kGrace(3000);
// Long texts that may wait to be encoded.
constexpr size_t kMaxQueued = 256;

absl::StatusOr<Options> ReadFlags() {
  Options options;
  options.model = absl::GetFlag(FLAGS_model);
  if (options.model.empty()) {
    return absl::InvalidArgumentError("--model is missing; give a model directory or a .gguf file");
  }
  options.address = absl::GetFlag(FLAGS_address);
  ASSIGN_OR_RETURN(options.log_level, common::ParseLogLevel(absl::GetFlag(FLAGS_log_level)));
  options.tokenizer.max_text_bytes = absl::GetFlag(FLAGS_max_text_bytes);
  options.die_with_parent = absl::GetFlag(FLAGS_die_with_parent);
  options.heartbeat_fd = absl::GetFlag(FLAGS_heartbeat_fd);
  return options;
}

absl::Status Serve(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Load(options.model, options.tokenizer));
  const auto load_time = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  common::LogInfo("tokenizer loaded", {{"source", tokenizer->vocabulary().source},
                                       {"vocab_size", tokenizer->vocab_size()},
                                       {"hash", tokenizer->hash()},
                                       {"load_ms", load_time.count()}});
  if (!tokenizer->chat_template_status().ok()) {
    common::LogWarning("chat requests will be refused",
                       {{"reason", tokenizer->chat_template_status().message()}});
  }
  const int num_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2);
  WorkPool pool(num_threads, kMaxQueued);
  TokenizerService service(tokenizer.get(), &pool);
  common::ServerOptions server_options;
  server_options.address = options.address;
  server_options.service_names = {v1::Tokenizer::service_full_name()};
  ASSIGN_OR_RETURN(const std::unique_ptr<common::ServerRunner> server,
                   common::ServerRunner::Start(server_options, {&service}));
  server->SetServing(true);
  common::LogInfo("tokenizer serving", {{"address", options.address}, {"port", server->port()}});
  const int signal_number = common::WaitForTermination();
  common::LogInfo("tokenizer stopping", {{"signal", signal_number}});
  server->SetServing(false);
  server->Shutdown(kGrace);
  return absl::OkStatus();
}

int Main(pid_t parent) {
  const absl::StatusOr<Options> options = ReadFlags();
  if (!options.ok()) {
    std::cerr << "quartet-tokenizer: " << options.status().message() << "\n";
    return 2;
  }
  if (options->die_with_parent) common::DieWithParent(parent);
  common::SetLogProcessName("tokenizer");
  common::SetLogLevel(options->log_level);
  // From before the vocabulary is loaded.
  const common::Heartbeat heartbeat(options->heartbeat_fd, nullptr);
  const absl::Status status = Serve(*options);
  if (!status.ok()) {
    common::LogError("tokenizer ends", {{"reason", status.message()}});
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace quartet::tokenizer

int main(int argc, char** argv) {
  const pid_t parent = getppid();  // first of all, so that it can hardly be gone yet
  quartet::common::BlockTerminationSignals();
  quartet::common::ConfigureProgram(
      "serves the tokenizer of a model over gRPC.\n"
      "quartet-tokenizer --model=PATH --address=unix:/path");
  absl::ParseCommandLine(argc, argv);
  return quartet::tokenizer::Main(parent);
}
