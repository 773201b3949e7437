// Finds out when a local cluster answers: reads the gateway's announcement, then sends a request
// for one token over HTTP until one succeeds.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

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
  // Starts probing. `host`: where the gateway listens.
  ReadinessProbe(std::string announce_file, std::string host);
  ~ReadinessProbe();

  // Readable once the probe has succeeded.
  int fd() const { return event_.get(); }
  // Where the cluster answers; valid once fd() is readable. Makes fd() unreadable again.
  Endpoints TakeResult();

 private:
  void Run();
  absl::Status ProbeOnce(Endpoints* endpoints);

  const std::string announce_file_;
  const std::string host_;
  ScopedFd event_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  Endpoints result_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace quartet::cli
