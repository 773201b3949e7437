// Runs groups of child processes: starts them, starts a group again when one of its processes dies,
// stops them in order. One thread, one poll loop; everything that takes time happens between polls
// of it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/back_off.h"
#include "cli/child_process.h"
#include "cli/cluster_plan.h"

namespace quartet::cli {

struct SupervisorOptions {
  BackOff::Options back_off;
  // Before SetReady(), so many deaths of one group end the supervisor.
  int max_failed_starts = 3;
  // Before SetReady(), a child that exits with this code ends the supervisor at once: starting it
  // again can't help.
  int bad_configuration_code = 2;
};

class Supervisor {
 public:
  // `groups` in the order of starting; they are stopped in the reverse order.
  Supervisor(std::vector<GroupSpec> groups, const SupervisorOptions& options);
  ~Supervisor();

  // Blocks the signals that Run() waits for. Call first in main: threads inherit it.
  static void BlockSignals();

  // Calls `on_readable` from Run() while `fd` is readable.
  void Watch(int fd, std::function<void()> on_readable);
  // From now on children are started again for ever. Call from a Watch function.
  void SetReady() { ready_ = true; }
  // Replaces the argument of all processes of `group` that starts with `prefix`, for their next
  // start.
  void ReplaceArgument(absl::string_view group, absl::string_view prefix, absl::string_view value);

  // Returns when all children have ended: OK after SIGTERM, SIGINT or SIGHUP; FAILED_PRECONDITION
  // with the child's last message if its configuration is bad; UNAVAILABLE with it if a group can't
  // be started. A second signal kills at once.
  absl::Status Run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Process {
    ProcessSpec spec;
    pid_t pid = 0;  // 0: not running
    ScopedFd output;
    std::string partial_line;
    std::string last_line;
  };

  enum class Phase {
    kUp,         // all processes were started
    kGoingDown,  // SIGTERM was sent; SIGKILL at `deadline`
    kWaiting,    // none runs; all are started at `deadline`
    kDown,       // none runs and none will
  };

  struct Group {
    GroupSpec spec;
    std::vector<std::unique_ptr<Process>> processes;
    BackOff back_off;
    Phase phase = Phase::kDown;
    Clock::time_point started;
    Clock::time_point deadline;
    int failed_starts = 0;
    bool AnyAlive() const;
  };

  void StartGroup(Group* group);
  void TakeDown(Group* group, Clock::time_point now);
  void SignalGroup(const Group& group, int signal_number) const;
  void OnDeath(Group* group, Process* process, int wait_status);
  void OnGroupGone(Group* group);
  // Begins or goes on with the final stop: the last group that is not down is next.
  void StopNext();
  void Fail(absl::Status status);

  void Wait(Clock::time_point now);
  void TakeSignals();
  void Reap();
  void CheckDeadlines();
  void ForwardOutput(Process* process);

  const SupervisorOptions options_;
  std::vector<Group> groups_;
  ScopedFd signals_;
  std::vector<std::pair<int, std::function<void()>>> watches_;
  bool ready_ = false;
  bool stopping_ = false;
  absl::Status result_;
};

}  // namespace quartet::cli
