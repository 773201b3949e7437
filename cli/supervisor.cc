#include "cli/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

sigset_t WaitedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

constexpr std::chrono::milliseconds kHeartbeatCheck(1000);

double Seconds(std::chrono::milliseconds duration) {
  return static_cast<double>(duration.count()) / 1000;
}

}  // namespace

bool Supervisor::Stage::AnyAlive() const {
  return std::any_of(processes.begin(), processes.end(),
                     [](const auto& process) { return process->pid != 0; });
}

Supervisor::Supervisor(std::vector<StageSpec> stages, const SupervisorOptions& options)
    : options_(options) {
  for (StageSpec& spec : stages) {
    Stage& stage = stages_.emplace_back();
    stage.spec = std::move(spec);
    for (const ProcessSpec& process : stage.spec.processes) {
      stage.processes.push_back(std::make_unique<Process>(process, options.back_off));
    }
  }
}

Supervisor::~Supervisor() {
  // Only after a failure inside Run(); the kernel ends the children, but nobody should be left
  // unreaped.
  for (const Stage& stage : stages_) SignalStage(stage, SIGKILL);
}

void Supervisor::BlockSignals() {
  const sigset_t set = WaitedSignals();
  QUARTET_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

void Supervisor::Watch(int fd, std::function<void()> on_readable) {
  watches_.emplace_back(fd, std::move(on_readable));
}

void Supervisor::ReplaceArgument(absl::string_view name, absl::string_view prefix,
                                 absl::string_view value) {
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      if (process->spec.name != name) continue;
      for (std::string& argument : process->spec.argv) {
        if (absl::StartsWith(argument, prefix)) argument = absl::StrCat(prefix, value);
      }
    }
  }
}

absl::Status Supervisor::Run() {
  const sigset_t set = WaitedSignals();
  signals_.Reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  QUARTET_CHECK(signals_.get() >= 0);
  last_check_ = Clock::now();
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) StartProcess(process.get());
  }
  while (!std::all_of(stages_.begin(), stages_.end(),
                      [](const Stage& stage) { return stage.phase == Phase::kDown; })) {
    Wait(Clock::now());
    CheckDeadlines();
  }
  return result_;
}

void Supervisor::StartProcess(Process* process) {
  process->awaits_start = false;
  if (stopping_) return;
  absl::StatusOr<ChildProcess> child = Spawn({.argv = process->spec.argv,
                                              .capture_output = true,
                                              .heartbeat = options_.heartbeat_timeout.count() > 0});
  if (!child.ok()) {
    Fail(child.status());
    return;
  }
  process->pid = child->pid;
  process->started = process->last_beat = Clock::now();
  process->output.Reset(child->output_fd);
  process->heartbeat.Reset(child->heartbeat_fd);
  process->partial_line.clear();
  process->last_line.clear();
  common::LogInfo(absl::StrCat("started ", process->spec.name), {{"pid", child->pid}});
}

void Supervisor::SignalStage(const Stage& stage, int signal_number) const {
  for (const auto& process : stage.processes) {
    if (process->pid != 0) kill(process->pid, signal_number);
  }
}

void Supervisor::TakeDown(Stage* stage, Clock::time_point now) {
  SignalStage(*stage, SIGTERM);
  stage->phase = Phase::kGoingDown;
  stage->kill_at = now + stage->spec.stop_grace;
}

void Supervisor::Fail(absl::Status status) {
  if (result_.ok() && !stopping_) result_ = std::move(status);
  StopNext();
}

void Supervisor::StopNext() {
  stopping_ = true;
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
    if (!stage->AnyAlive()) stage->phase = Phase::kDown;
    if (stage->phase == Phase::kDown) continue;
    if (stage->phase != Phase::kGoingDown) {
      common::LogInfo(absl::StrCat("stopping ", stage->spec.name));
      TakeDown(&*stage, Clock::now());
    }
    return;
  }
}

void Supervisor::OnDeath(Stage* stage, Process* process, int wait_status) {
  ForwardOutput(process);
  process->output.Reset();
  process->heartbeat.Reset();
  process->pid = 0;
  const std::string how = absl::StrCat(process->spec.name, " ", DescribeExit(wait_status));
  const std::string story = process->last_line.empty()
                                ? how
                                : absl::StrCat(how, ". Its last message: ", process->last_line);
  if (stopping_) {
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) common::LogInfo(how);
    if (!stage->AnyAlive()) StopNext();
    return;
  }
  if (!ready_ && WIFEXITED(wait_status) &&
      WEXITSTATUS(wait_status) == options_.bad_configuration_code) {
    Fail(absl::FailedPreconditionError(story));
    return;
  }
  common::LogWarning(how);
  if (!ready_ && ++process->failed_starts >= options_.max_failed_starts) {
    Fail(absl::UnavailableError(
        absl::StrCat("gave up after ", process->failed_starts, " starts: ", story)));
    return;
  }
  ScheduleStart(process);
}

void Supervisor::ScheduleStart(Process* process) {
  const auto now = Clock::now();
  const auto wait = process->back_off.Next(
      std::chrono::duration_cast<std::chrono::milliseconds>(now - process->started));
  process->awaits_start = true;
  process->start_at = now + wait;
  common::LogWarning(absl::StrCat(
      "starting ", process->spec.name, " again ",
      wait.count() == 0 ? std::string("at once") : absl::StrCat("in ", Seconds(wait), " s")));
}

int Supervisor::PollTimeoutMs(Clock::time_point now) const {
  // Heartbeats are looked at once a second.
  auto until =
      options_.heartbeat_timeout.count() > 0 ? now + kHeartbeatCheck : Clock::time_point::max();
  for (const Stage& stage : stages_) {
    if (stage.phase == Phase::kGoingDown) until = std::min(until, stage.kill_at);
    for (const auto& process : stage.processes) {
      if (process->awaits_start) until = std::min(until, process->start_at);
    }
  }
  if (until == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  return static_cast<int>(std::max<int64_t>(left, 0));
}

void Supervisor::Wait(Clock::time_point now) {
  std::vector<pollfd> fds = {{signals_.get(), POLLIN, 0}};
  for (const auto& watch : watches_) fds.push_back({watch.first, POLLIN, 0});
  std::vector<Process*> writers, beaters;
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      if (process->output.get() < 0) continue;
      fds.push_back({process->output.get(), POLLIN, 0});
      writers.push_back(process.get());
    }
  }
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      if (process->heartbeat.get() < 0) continue;
      fds.push_back({process->heartbeat.get(), POLLIN, 0});
      beaters.push_back(process.get());
    }
  }
  if (poll(fds.data(), fds.size(), PollTimeoutMs(now)) <= 0) return;
  const pollfd* next = &fds[1 + watches_.size()];
  for (Process* process : writers) {
    if ((next++)->revents != 0) ForwardOutput(process);
  }
  for (Process* process : beaters) {
    if ((next++)->revents != 0) TakeBeats(process);
  }
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (fds[1 + i].revents != 0) watches_[i].second();
  }
  if (fds[0].revents != 0) TakeSignals();
}

void Supervisor::TakeBeats(Process* process) {
  char beats[256];
  const ssize_t n = read(process->heartbeat.get(), beats, sizeof(beats));
  if (n > 0) process->last_beat = Clock::now();
  if (n == 0) process->heartbeat.Reset();  // closed by the child; OnDeath follows
}

void Supervisor::TakeSignals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) continue;
    if (stopping_) {
      common::LogWarning("second signal: killing what is left");
      for (const Stage& stage : stages_) SignalStage(stage, SIGKILL);
    } else {
      common::LogInfo(absl::StrCat("got signal ", info.ssi_signo, " (",
                                   strsignal(static_cast<int>(info.ssi_signo)), "), stopping"));
      StopNext();
    }
  }
  // One SIGCHLD may stand for several deaths.
  Reap();
}

void Supervisor::Reap() {
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      int wait_status = 0;
      if (process->pid == 0 || waitpid(process->pid, &wait_status, WNOHANG) != process->pid)
        continue;
      OnDeath(&stage, process.get(), wait_status);
    }
  }
}

void Supervisor::CheckDeadlines() {
  const auto now = Clock::now();
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      if (process->awaits_start && process->start_at <= now) StartProcess(process.get());
    }
    if (stage.phase != Phase::kGoingDown || stage.kill_at > now) continue;
    common::LogWarning(absl::StrCat(stage.spec.name, " still there ",
                                    Seconds(stage.spec.stop_grace), " s after SIGTERM: killing"));
    SignalStage(stage, SIGKILL);
    stage.kill_at = now + std::chrono::seconds(10);
  }
  CheckHeartbeats(now);
}

void Supervisor::CheckHeartbeats(Clock::time_point now) {
  const auto pause = now - std::exchange(last_check_, now);
  for (Stage& stage : stages_) {
    for (auto& process : stage.processes) {
      if (process->pid == 0 || process->heartbeat.get() < 0) continue;
      // Whatever held this process up (a suspended machine, say) will have held up the children.
      if (pause > 2 * kHeartbeatCheck) process->last_beat = std::max(process->last_beat, now);
      if (now - process->last_beat <= options_.heartbeat_timeout) continue;
      common::LogError(absl::StrCat(process->spec.name, " has been silent for ",
                                    Seconds(options_.heartbeat_timeout), " s: killing it"),
                       {{"pid", process->pid}});
      kill(process->pid, SIGKILL);
      process->last_beat = now;
    }
  }
}

// Passes the child's output on to stderr, whole lines at a time, and remembers the last line that
// says something.
void Supervisor::ForwardOutput(Process* process) {
  char buffer[8192];
  ssize_t n = 0;
  while ((n = read(process->output.get(), buffer, sizeof(buffer))) > 0) {
    process->partial_line.append(buffer, static_cast<size_t>(n));
  }
  if (n == 0) {  // closed by the child; OnDeath follows
    process->output.Reset();
    const std::string& rest = process->partial_line;
    if (!rest.empty() && rest.back() != '\n') process->partial_line += '\n';
  }
  const size_t end = process->partial_line.rfind('\n');
  if (end == std::string::npos) return;
  const std::string lines = process->partial_line.substr(0, end + 1);
  process->partial_line.erase(0, end + 1);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, lines.data(), lines.size());
  for (absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    process->last_line = std::string(line);
  }
}

}  // namespace quartet::cli
