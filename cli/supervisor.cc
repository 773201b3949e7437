#include "cli/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

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

double Seconds(std::chrono::milliseconds duration) {
  return static_cast<double>(duration.count()) / 1000;
}

}  // namespace

bool Supervisor::Group::AnyAlive() const {
  return std::any_of(processes.begin(), processes.end(),
                     [](const auto& process) { return process->pid != 0; });
}

Supervisor::Supervisor(std::vector<GroupSpec> groups, const SupervisorOptions& options)
    : options_(options) {
  for (GroupSpec& spec : groups) {
    Group group{std::move(spec), {}, BackOff(options.back_off), Phase::kDown, {}, {}, 0};
    for (const ProcessSpec& process_spec : group.spec.processes) {
      group.processes.push_back(std::make_unique<Process>());
      group.processes.back()->spec = process_spec;
    }
    groups_.push_back(std::move(group));
  }
}

Supervisor::~Supervisor() {
  // Only after a failure inside Run(); the kernel ends the children, but nobody should be left
  // unreaped.
  for (const Group& group : groups_) SignalGroup(group, SIGKILL);
}

void Supervisor::BlockSignals() {
  const sigset_t set = WaitedSignals();
  QUARTET_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

void Supervisor::Watch(int fd, std::function<void()> on_readable) {
  watches_.emplace_back(fd, std::move(on_readable));
}

void Supervisor::ReplaceArgument(absl::string_view group_name, absl::string_view prefix,
                                 absl::string_view value) {
  for (Group& group : groups_) {
    if (group.spec.name != group_name) continue;
    for (auto& process : group.processes) {
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
  for (Group& group : groups_) StartGroup(&group);
  while (!std::all_of(groups_.begin(), groups_.end(),
                      [](const Group& group) { return group.phase == Phase::kDown; })) {
    Wait(Clock::now());
    CheckDeadlines();
  }
  return result_;
}

void Supervisor::StartGroup(Group* group) {
  if (stopping_) return;
  group->phase = Phase::kUp;
  group->started = Clock::now();
  for (auto& process : group->processes) {
    absl::StatusOr<ChildProcess> child = Spawn({process->spec.argv, true});
    if (!child.ok()) {
      Fail(child.status());
      return;
    }
    process->pid = child->pid;
    process->output.Reset(child->output_fd);
    process->partial_line.clear();
    process->last_line.clear();
    common::LogInfo(absl::StrCat("started ", process->spec.name), {{"pid", child->pid}});
  }
}

void Supervisor::SignalGroup(const Group& group, int signal_number) const {
  for (const auto& process : group.processes) {
    if (process->pid != 0) kill(process->pid, signal_number);
  }
}

void Supervisor::TakeDown(Group* group, Clock::time_point now) {
  SignalGroup(*group, SIGTERM);
  group->phase = Phase::kGoingDown;
  group->deadline = now + group->spec.stop_grace;
}

void Supervisor::Fail(absl::Status status) {
  if (result_.ok() && !stopping_) result_ = std::move(status);
  StopNext();
}

void Supervisor::StopNext() {
  stopping_ = true;
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    if (!group->AnyAlive()) group->phase = Phase::kDown;
    if (group->phase == Phase::kDown) continue;
    if (group->phase != Phase::kGoingDown) {
      common::LogInfo(absl::StrCat("stopping ", group->spec.name));
      TakeDown(&*group, Clock::now());
    }
    return;
  }
}

void Supervisor::OnDeath(Group* group, Process* process, int wait_status) {
  ForwardOutput(process);
  process->output.Reset();
  process->pid = 0;
  const std::string how = absl::StrCat(process->spec.name, " ", DescribeExit(wait_status));
  const std::string story = process->last_line.empty()
                                ? how
                                : absl::StrCat(how, ". Its last message: ", process->last_line);
  const bool bad_configuration =
      WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == options_.bad_configuration_code;
  if (!stopping_ && !ready_ && bad_configuration) {
    Fail(absl::FailedPreconditionError(story));
  } else if (!stopping_ && group->phase == Phase::kUp) {
    common::LogWarning(how);
    if (!ready_ && ++group->failed_starts >= options_.max_failed_starts) {
      Fail(absl::UnavailableError(
          absl::StrCat("gave up after ", group->failed_starts, " starts: ", story)));
    } else {
      TakeDown(group, Clock::now());
    }
  } else if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
    common::LogInfo(how);
  }
  if (!group->AnyAlive()) OnGroupGone(group);
}

void Supervisor::OnGroupGone(Group* group) {
  if (stopping_) {
    group->phase = Phase::kDown;
    StopNext();
    return;
  }
  const auto now = Clock::now();
  const auto wait = group->back_off.Next(
      std::chrono::duration_cast<std::chrono::milliseconds>(now - group->started));
  group->phase = Phase::kWaiting;
  group->deadline = now + wait;
  common::LogWarning(
      absl::StrCat("starting ", group->spec.name, " again in ", Seconds(wait), " s"));
}

void Supervisor::Wait(Clock::time_point now) {
  std::vector<pollfd> fds = {{signals_.get(), POLLIN, 0}};
  for (const auto& watch : watches_) fds.push_back({watch.first, POLLIN, 0});
  std::vector<Process*> readers;
  int timeout_ms = -1;
  for (Group& group : groups_) {
    for (auto& process : group.processes) {
      if (process->output.get() < 0) continue;
      fds.push_back({process->output.get(), POLLIN, 0});
      readers.push_back(process.get());
    }
    if (group.phase == Phase::kGoingDown || group.phase == Phase::kWaiting) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(group.deadline - now).count() + 1;
      const int wait = static_cast<int>(std::max<int64_t>(left, 0));
      timeout_ms = timeout_ms < 0 ? wait : std::min(timeout_ms, wait);
    }
  }
  if (poll(fds.data(), fds.size(), timeout_ms) <= 0) return;
  for (size_t i = 0; i < readers.size(); ++i) {
    if (fds[1 + watches_.size() + i].revents != 0) ForwardOutput(readers[i]);
  }
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (fds[1 + i].revents != 0) watches_[i].second();
  }
  if (fds[0].revents != 0) TakeSignals();
}

void Supervisor::TakeSignals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) continue;
    if (stopping_) {
      common::LogWarning("second signal: killing what is left");
      for (const Group& group : groups_) SignalGroup(group, SIGKILL);
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
  for (Group& group : groups_) {
    for (auto& process : group.processes) {
      int wait_status = 0;
      if (process->pid == 0 || waitpid(process->pid, &wait_status, WNOHANG) != process->pid)
        continue;
      OnDeath(&group, process.get(), wait_status);
    }
  }
}

void Supervisor::CheckDeadlines() {
  const auto now = Clock::now();
  for (Group& group : groups_) {
    if (group.deadline > now) continue;
    if (group.phase == Phase::kWaiting) StartGroup(&group);
    if (group.phase == Phase::kGoingDown) {
      common::LogWarning(absl::StrCat(group.spec.name, " still there ",
                                      Seconds(group.spec.stop_grace), " s after SIGTERM: killing"));
      SignalGroup(group, SIGKILL);
      group.deadline = now + std::chrono::seconds(10);
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
