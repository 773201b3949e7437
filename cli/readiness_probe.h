// Finds out when a local cluster answers: reads each gateway's announcement, then sends it a
// request for one token over HTTP until one succeeds.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/child_process.h"

namespace quartet::cli {

struct Endpoints {
  int http_port = 0;
  int grpc_port = 0;
};

// Reads {"http_port": N, "grpc_port": M}.
absl::StatusOr<Endpoints> ParseAnnouncement(absl::string_view json);

// Probes on a thread of its own, so that the caller's loop goes on.
class ReadinessProbe {
 public:
  // Starts probing the gateways one after the other. `host`: where they listen.
  ReadinessProbe(std::vector<std::string> announce_files, std::string host);
  ~ReadinessProbe();

  // Readable once the probe has succeeded.
  int fd() const { return event_.get(); }
  // Where the gateways answer, in the order of their files; valid once fd() is readable. Makes fd()
  // unreadable again.
  std::vector<Endpoints> TakeResult();

 private:
  void Run();
  absl::Status ProbeOnce(const std::string& announce_file, Endpoints* endpoints);

  const std::vector<std::string> announce_files_;
  const std::string host_;
  ScopedFd event_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<Endpoints> result_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace quartet::cli
