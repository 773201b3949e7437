// `quartet`: the command line of the cluster. Picks the subcommand and turns its status into an
// exit code.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/commands.h"
#include "common/version.h"

namespace quartet::cli {
namespace {

struct Command {
  absl::string_view name;
  absl::string_view help;
  absl::Status (*run)(const Arguments&);
};

constexpr Command kCommands[] = {
    {"serve", "start a cluster on this machine: tokenizer, workers, gateway", Serve},
    {"chat", "talk to a server in the terminal", Chat},
    {"bench", "put a load on a server and report latencies and throughput", Bench},
    {"eval", "measure what a served model can do", Eval},
    {"doctor", "check whether this machine can serve, and say what is missing", Doctor},
    {"supervise", "run one command and start it again whenever it ends", Supervise},
};

void PrintHelp(std::FILE* out) {
  std::fputs("usage: quartet COMMAND [flags]\n\n", out);
  for (const Command& command : kCommands) {
    std::fprintf(out, "  %-10s %s\n", std::string(command.name).c_str(),
                 std::string(command.help).c_str());
  }
  std::fputs("  version    print the version\n  help       print this\n\n", out);
  std::fputs("`quartet COMMAND --help` lists a command's flags.\n", out);
}

int ExitCode(absl::string_view command, const absl::Status& status) {
  if (status.ok()) return 0;
  const std::string message(status.message());
  if (absl::IsCancelled(status)) {  // --help
    std::fputs(message.c_str(), stdout);
    return 0;
  }
  std::fprintf(stderr, "quartet %s: %s\n", std::string(command).c_str(), message.c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

int Main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "help" || name == "--help" || name == "-h") {
    PrintHelp(stdout);
    return 0;
  }
  if (name == "version" || name == "--version") {
    std::printf("quartet %s\n", common::kVersion);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (command.name == name) {
      return ExitCode(name, command.run(Arguments(argv + 2, argv + argc)));
    }
  }
  if (!name.empty()) std::fprintf(stderr, "quartet has no command '%s'\n\n", name.c_str());
  PrintHelp(stderr);
  return 2;
}

}  // namespace
}  // namespace quartet::cli

int main(int argc, char** argv) { return quartet::cli::Main(argc, argv); }
