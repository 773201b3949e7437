// `quartet doctor`: looks at this machine and says whether it can serve, and what is missing.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/child_process.h"
#include "cli/commands.h"
#include "cli/default_model.h"
#include "cli/doctor_checks.h"
#include "cli/flag_set.h"
#include "cli/runtime_directory.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Bytes of the files that hold weights.
int64_t ModelBytes(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return static_cast<int64_t>(fs::file_size(path, ignored));
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (entry.path().extension() == ".safetensors")
      bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

void CheckModel(const std::string& given, std::vector<Finding>* findings) {
  const absl::StatusOr<std::string> path = ResolveModel(given);
  if (!path.ok()) {
    findings->push_back({Health::kMissing, "model", std::string(path.status().message())});
    return;
  }
  const int64_t bytes = ModelBytes(*path);
  const bool is_directory = fs::is_directory(*path);
  if (is_directory && !fs::exists(*path + "/config.json")) {
    findings->push_back({Health::kMissing, "model", absl::StrCat(*path, " has no config.json")});
  } else if (is_directory && !fs::exists(*path + "/tokenizer.json")) {
    findings->push_back({Health::kMissing, "model", absl::StrCat(*path, " has no tokenizer.json")});
  } else if (bytes == 0) {
    findings->push_back({Health::kMissing, "model", absl::StrCat(*path, " holds no weights")});
  } else {
    findings->push_back(
        {Health::kGood, "model", absl::StrCat(*path, ", ", bytes / 1'000'000, " MB")});
  }
  const bool quantised = absl::StrContains(*path, ".gguf") && !absl::StrContains(*path, "16.gguf");
  findings->push_back(CheckMemory(AvailableMemory(ReadFile("/proc/meminfo")), bytes, quantised));
}

Finding CheckPort(const char* name, int64_t port) {
  ScopedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return {Health::kGood, name, absl::StrCat("port ", port, " is free")};
  }
  return {Health::kMissing, name,
          absl::StrCat("port ", port, " is taken; is a server running already? Another port: --",
                       name, "=0")};
}

void CheckInstallation(std::vector<Finding>* findings) {
  const absl::StatusOr<std::string> directory = BinaryDirectory();
  for (const char* binary : {"quartet-tokenizer", "quartet-worker", "quartet-gateway"}) {
    const std::string path = absl::StrCat(directory.ok() ? *directory : ".", "/", binary);
    if (access(path.c_str(), X_OK) == 0) continue;
    findings->push_back({Health::kMissing, "programs",
                         absl::StrCat(path, " is not there; build it with deploy/local/up")});
  }
  const auto runtime = RuntimeDirectory::Create();
  if (!runtime.ok()) {
    findings->push_back({Health::kMissing, "sockets", std::string(runtime.status().message())});
  }
  if (access("/dev/shm", W_OK) != 0) {
    findings->push_back(
        {Health::kMissing, "shared memory", "/dev/shm is not writable; ranks exchange sums there"});
  }
}

}  // namespace

absl::Status Doctor(const Arguments& arguments) {
  std::string model;
  int64_t http_port = 8080, grpc_port = 50051;
  FlagSet flags("doctor", "[flags]",
                "Checks whether this machine can serve and says what is missing.");
  flags.Add("model", &model, "Model folder or .gguf file. Default: the fetched SmolLM2.");
  flags.Add("http_port", &http_port, "Port to check.");
  flags.Add("grpc_port", &grpc_port, "Port to check.");
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  if (!rest.empty()) return absl::InvalidArgumentError(absl::StrCat("'", rest[0], "' is no flag"));

  std::vector<Finding> findings;
  findings.push_back(CheckProcessor(ReadFile("/proc/cpuinfo")));
  findings.push_back(CheckHugePages(ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")));
  CheckModel(model, &findings);
  findings.push_back(CheckPort("http_port", http_port));
  findings.push_back(CheckPort("grpc_port", grpc_port));
  CheckInstallation(&findings);

  int missing = 0;
  for (const Finding& finding : findings) {
    const char* const mark = finding.health == Health::kGood   ? "ok     "
                             : finding.health == Health::kSlow ? "slow   "
                                                               : "MISSING";
    std::printf("%s  %-13s  %s\n", mark, finding.subject.c_str(), finding.text.c_str());
    if (finding.health == Health::kMissing) ++missing;
  }
  if (missing == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(missing, " thing(s) missing, see above"));
}

}  // namespace quartet::cli
