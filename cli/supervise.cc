// `quartet supervise -- COMMAND`: one child, started again whenever it ends. For containers, where
// nobody else would.

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "cli/child_process.h"
#include "cli/commands.h"
#include "cli/flag_set.h"
#include "common/back_off.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Children that live for less than this, one after the other, are started again with back-off
// instead of at once.
constexpr milliseconds kShortLife(1000);

sigset_t WaitedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

// Waits until the child has ended; passes termination signals on to it. Returns whether one came.
bool WaitForChild(pid_t pid, int* wait_status) {
  const sigset_t set = WaitedSignals();
  bool told_to_stop = false;
  while (waitpid(pid, wait_status, WNOHANG) != pid) {
    const int number = sigwaitinfo(&set, nullptr);
    if (number <= 0 || number == SIGCHLD) continue;
    told_to_stop = true;
    kill(pid, number == SIGHUP ? SIGTERM : number);
  }
  return told_to_stop;
}

// Sleeps, unless a termination signal comes: then true.
bool PauseOrStop(milliseconds pause) {
  sigset_t set = WaitedSignals();
  sigdelset(&set, SIGCHLD);
  const timespec time{pause.count() / 1000, pause.count() % 1000 * 1'000'000};
  return sigtimedwait(&set, nullptr, &time) > 0;
}

}  // namespace

absl::Status Supervise(const Arguments& arguments) {
  FlagSet flags("supervise", "-- COMMAND [ARGUMENTS]",
                "Runs COMMAND and starts it again at once whenever it ends, with pauses from 0.2 s "
                "to 10 s if it ends within a second again and again. Passes SIGTERM and Ctrl-C on "
                "and then ends. A child that exits with code 2 (bad configuration) is not started "
                "again.");
  ASSIGN_OR_RETURN(const Arguments command, flags.Parse(arguments));
  if (command.empty()) {
    return absl::InvalidArgumentError(
        "no command; usage: quartet supervise -- COMMAND [ARGUMENTS]");
  }
  const sigset_t set = WaitedSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  common::SetLogProcessName("supervise");

  common::BackOff back_off({milliseconds(200), milliseconds(10'000), kShortLife});
  while (true) {
    const auto started = Clock::now();
    ASSIGN_OR_RETURN(const ChildProcess child, Spawn({command, false}));
    common::LogInfo("started", {{"command", command[0]}, {"pid", child.pid}});
    int wait_status = 0;
    const bool told_to_stop = WaitForChild(child.pid, &wait_status);
    const std::string how = absl::StrCat(command[0], " ", DescribeExit(wait_status));
    if (told_to_stop) {
      common::LogInfo(how);
      return absl::OkStatus();
    }
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 2) {
      return absl::FailedPreconditionError(
          absl::StrCat(how, ": bad configuration, not started again"));
    }
    const auto lived = std::chrono::duration_cast<milliseconds>(Clock::now() - started);
    const milliseconds pause = back_off.Next(lived);
    common::LogWarning(absl::StrCat(how, ", starting it again"), {{"pause_ms", pause.count()}});
    if (pause.count() > 0 && PauseOrStop(pause)) return absl::OkStatus();
  }
}

}  // namespace quartet::cli
