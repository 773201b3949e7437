// Runs child processes: starts them, starts again those that die or fall silent, each on its own,
// and stops them in order. One thread, one poll loop; everything that takes time happens between
// polls of it.
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
#include "cli/child_process.h"
#include "cli/cluster_plan.h"
#include "common/back_off.h"

namespace quartet::cli {

struct SupervisorOptions {
  common::BackOff::Options back_off;
  // Before SetReady(), so many deaths of one process end the supervisor.
  int max_failed_starts = 3;
  // Before SetReady(), a child that exits with this code ends the supervisor at once: starting it
  // again can't help.
  int bad_configuration_code = 2;
  // A child whose heartbeat has been silent for so long is killed and started again; 0: never.
  std::chrono::milliseconds heartbeat_timeout{10'000};
};

class Supervisor {
 public:
  // `stages` in the order of starting; they are stopped in the reverse order, one after the other.
  Supervisor(std::vector<StageSpec> stages, const SupervisorOptions& options);
  ~Supervisor();

  // Blocks the signals that Run() waits for. Call first in main: threads inherit it.
  static void BlockSignals();

  // Calls `on_readable` from Run() while `fd` is readable.
  void Watch(int fd, std::function<void()> on_readable);
  // From now on children are started again for ever. Call from a Watch function.
  void SetReady() { ready_ = true; }
  // Replaces the argument of the process `name` that starts with `prefix`, for its next start.
  void ReplaceArgument(absl::string_view name, absl::string_view prefix, absl::string_view value);

  // Returns when all children have ended: OK after SIGTERM, SIGINT or SIGHUP; FAILED_PRECONDITION
  // with the child's last message if its configuration is bad; UNAVAILABLE with it if one can't
  // be started. A second signal kills at once.
  absl::Status Run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Process {
    Process(const ProcessSpec& spec, const common::BackOff::Options& back_off)
        : spec(spec), back_off(back_off) {}

    ProcessSpec spec;
    pid_t pid = 0;  // 0: not running
    Clock::time_point started;
    bool awaits_start = false;  // not running; started at `start_at`
    Clock::time_point start_at;
    common::BackOff back_off;
    int failed_starts = 0;
    ScopedFd heartbeat;
    Clock::time_point last_beat;
    ScopedFd output;
    std::string partial_line;
    std::string last_line;
  };

  enum class Phase {
    kUp,         // its processes run, or are started again
    kGoingDown,  // SIGTERM was sent; SIGKILL at `kill_at`
    kDown,       // none runs and none will
  };

  struct Stage {
    StageSpec spec;
    std::vector<std::unique_ptr<Process>> processes;
    Phase phase = Phase::kUp;
    Clock::time_point kill_at;
    bool AnyAlive() const;
  };

  void StartProcess(Process* process);
  void TakeDown(Stage* stage, Clock::time_point now);
  void SignalStage(const Stage& stage, int signal_number) const;
  void OnDeath(Stage* stage, Process* process, int wait_status);
  void ScheduleStart(Process* process);
  // Begins or goes on with the final stop: the last stage that is not down is next.
  void StopNext();
  void Fail(absl::Status status);

  void Wait(Clock::time_point now);
  int PollTimeoutMs(Clock::time_point now) const;
  void TakeSignals();
  void Reap();
  void CheckDeadlines();
  void CheckHeartbeats(Clock::time_point now);
  void TakeBeats(Process* process);
  void ForwardOutput(Process* process);

  const SupervisorOptions options_;
  std::vector<Stage> stages_;
  Clock::time_point last_check_;  // of the heartbeats
  ScopedFd signals_;
  std::vector<std::pair<int, std::function<void()>>> watches_;
  bool ready_ = false;
  bool stopping_ = false;
  absl::Status result_;
};

}  // namespace quartet::cli
