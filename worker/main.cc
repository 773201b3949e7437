// quartet-worker: one rank of a worker group. Rank 0 is the leader, which gateways talk to.
#include <unistd.h>

#include <cstdio>
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
#include "worker/follower.h"
#include "worker/leader.h"
#include "worker/process_end.h"
#include "worker/worker_setup.h"

ABSL_FLAG(std::string, model, "", "Model directory (with config.json), or a .gguf file. Required.");
ABSL_FLAG(int, rank, 0, "Rank in the group; 0 is the leader.");
ABSL_FLAG(int, world_size, 1, "Ranks in the group (tensor-parallel size).");
ABSL_FLAG(std::string, address, "unix:/tmp/quartet-worker.sock",
          "Where the leader listens: unix:/path or host:port; port 0 picks a free one.");
ABSL_FLAG(std::string, leader_address, "",
          "Where the other ranks find the leader: its --address. Required for rank 1 and up.");
ABSL_FLAG(std::string, device, "cpu",
          "Kind of device: cpu, or simulated (no weights; steps take the time that --sim_profile "
          "says).");
ABSL_FLAG(std::string, sim_profile, "",
          "With --device=simulated: the hardware's profile, by name or as a JSON file.");
ABSL_FLAG(double, sim_time_scale, 1,
          "With --device=simulated: multiplies all device times; above 1 is slower.");
ABSL_FLAG(int, num_threads, 0, "Compute threads of this rank; 0: the cores divided by the ranks.");
ABSL_FLAG(std::string, instruction_set, "auto", "auto, avx512, avx2 or portable.");
ABSL_FLAG(std::string, compute_dtype, "bfloat16", "bfloat16, or float32 for comparison.");
ABSL_FLAG(int64_t, max_model_len, 0,
          "Longest prompt plus output, tokens; 0: what the model and the KV cache allow.");
ABSL_FLAG(std::string, rope_scaling, "",
          "JSON as in config.json's rope_scaling; overrides the model's own.");
ABSL_FLAG(int64_t, kv_cache_bytes, 0,
          "Bytes of KV cache of one rank; 0: up to half of the free memory, shared by the ranks.");
ABSL_FLAG(int64_t, max_num_batched_tokens, 512, "Token budget of a step.");
ABSL_FLAG(int64_t, max_num_seqs, 64, "Sequences that run at once, at most 256.");
ABSL_FLAG(int64_t, max_waiting, 1024, "Sequences that may wait; beyond it requests are refused.");
ABSL_FLAG(int64_t, max_waiting_tokens, int64_t{1} << 20,
          "Tokens of prompts that may wait; beyond it requests are refused.");
ABSL_FLAG(bool, enable_prefix_caching, true,
          "Whether KV blocks are kept and found again by prompts that begin alike.");
ABSL_FLAG(
    absl::Duration, itl_target, absl::Milliseconds(100),
    "What a step may take while sequences decode: prompts beside them are read in chunks that "
    "fit, but get at least as much time as the decodes. 0: prompts take what they can.");
ABSL_FLAG(std::string, metrics_address, "127.0.0.1:0",
          "host:port of the leader's Prometheus metrics; port 0 picks a free one, empty is none.");
ABSL_FLAG(
    std::string, tokenizer_address, "",
    "The tokenizer service, unix:/path or host:port, whose vocabulary structured output needs; "
    "empty: such requests are refused.");
ABSL_FLAG(int64_t, max_grammar_bytes, int64_t{128} << 10,
          "Largest schema, regular expression or grammar that a request may send.");
ABSL_FLAG(int64_t, grammar_cache_bytes, int64_t{256} << 20,
          "Memory for compiled grammars that may be wanted again.");
ABSL_FLAG(absl::Duration, grammar_timeout, absl::Seconds(10),
          "How long compiling one grammar may take; a request that needs more is refused.");
ABSL_FLAG(absl::Duration, group_timeout, absl::Minutes(30),
          "How long ranks wait for each other when the group forms.");
ABSL_FLAG(int, local_ranks, 0,
          "Ranks that share this host's cores and memory; 0: those of the group.");
ABSL_FLAG(absl::Duration, step_timeout, absl::Seconds(30),
          "A step that takes this long and --step_timeout_factor times its predicted time on top "
          "ends the group, which then forms anew.");
ABSL_FLAG(double, step_timeout_factor, 4, "See --step_timeout.");
ABSL_FLAG(absl::Duration, idle_probe_interval, absl::Seconds(5),
          "How often an idle leader asks all ranks for a sign of life.");
ABSL_FLAG(
    int, heartbeat_fd, -1,
    "File descriptor of a pipe that gets a byte a second while the process is well; -1: none. "
    "`quartet serve` passes it.");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warning or error.");
ABSL_FLAG(bool, die_with_parent, false, "End when the parent process ends.");

namespace quartet::worker_service {
namespace {

// The main loop turns once a second; if it doesn't for so long, it never will.
constexpr std::chrono::seconds kLoopLimit(20);

struct ProcessOptions {
  WorkerOptions worker;
  common::LogLevel log_level = common::LogLevel::kInfo;
  bool die_with_parent = false;
  int heartbeat_fd = -1;
};

absl::StatusOr<kernels::DType> ParseDType(const std::string& name) {
  if (name == "bfloat16") return kernels::DType::kBFloat16;
  if (name == "float32") return kernels::DType::kFloat32;
  return absl::InvalidArgumentError(
      absl::StrCat("--compute_dtype=", name, " is unknown; use bfloat16 or float32"));
}

absl::Status CheckRange(const char* flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, "=", value, " is out of range; must be in [", low, ", ", high, "]"));
}

absl::Status CheckAtLeast(const char* flag, absl::Duration value, absl::Duration least) {
  if (value >= least && value < absl::Hours(24 * 365)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, "=", absl::FormatDuration(value), " is out of range; must be at least ",
      absl::FormatDuration(least), " and less than a year"));
}

absl::Status CheckRanges(const WorkerOptions& options) {
  RETURN_IF_ERROR(CheckRange("world_size", options.world_size, 1, 1024));
  RETURN_IF_ERROR(CheckRange("rank", options.rank, 0, options.world_size - 1));
  RETURN_IF_ERROR(CheckRange("num_threads", options.num_threads, 0, 4096));
  RETURN_IF_ERROR(CheckRange("max_model_len", options.max_model_len, 0, int64_t{1} << 30));
  RETURN_IF_ERROR(CheckRange("kv_cache_bytes", options.kv_cache_bytes, 0, int64_t{1} << 50));
  RETURN_IF_ERROR(CheckRange("max_num_seqs", options.max_num_seqs, 1, 256));
  RETURN_IF_ERROR(CheckRange("max_num_batched_tokens", options.max_num_batched_tokens,
                             options.max_num_seqs, 65536));
  RETURN_IF_ERROR(CheckRange("max_waiting", options.max_waiting, 1, 1 << 20));
  RETURN_IF_ERROR(
      CheckRange("max_waiting_tokens", options.max_waiting_tokens, 1, int64_t{1} << 40));
  if (options.itl_target < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--itl_target=", absl::FormatDuration(options.itl_target),
                     " is negative; give a duration such as 100ms, or 0 for no target"));
  }
  RETURN_IF_ERROR(CheckRange("max_grammar_bytes", options.max_grammar_bytes, 1, int64_t{16} << 20));
  RETURN_IF_ERROR(
      CheckRange("grammar_cache_bytes", options.grammar_cache_bytes, 0, int64_t{1} << 40));
  RETURN_IF_ERROR(
      CheckAtLeast("grammar_timeout", options.grammar_timeout, absl::Milliseconds(100)));
  RETURN_IF_ERROR(CheckRange("local_ranks", options.local_ranks, 0, 65536));
  RETURN_IF_ERROR(CheckAtLeast("step_timeout", options.step_timeout, absl::Seconds(1)));
  RETURN_IF_ERROR(
      CheckAtLeast("idle_probe_interval", options.idle_probe_interval, absl::Seconds(1)));
  if (!(options.step_timeout_factor >= 1 && options.step_timeout_factor <= 1000)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--step_timeout_factor=", options.step_timeout_factor,
                     " is out of range; must be in [1, 1000]"));
  }
  // Written so that NaN fails.
  if (!(options.sim_time_scale >= 1e-6 && options.sim_time_scale <= 100)) {
    return absl::InvalidArgumentError(absl::StrCat("--sim_time_scale=", options.sim_time_scale,
                                                   " is out of range; must be in [1e-6, 100]"));
  }
  if (options.rank > 0 && options.leader_address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--leader_address is missing: rank ", options.rank, " must know where rank 0 listens"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ProcessOptions> ReadFlags() {
  ProcessOptions options;
  WorkerOptions& worker = options.worker;
  worker.model = absl::GetFlag(FLAGS_model);
  if (worker.model.empty()) {
    return absl::InvalidArgumentError("--model is missing; give a model directory or a .gguf file");
  }
  worker.rank = absl::GetFlag(FLAGS_rank);
  worker.world_size = absl::GetFlag(FLAGS_world_size);
  worker.address = absl::GetFlag(FLAGS_address);
  worker.leader_address = absl::GetFlag(FLAGS_leader_address);
  worker.device = absl::GetFlag(FLAGS_device);
  worker.sim_profile = absl::GetFlag(FLAGS_sim_profile);
  worker.sim_time_scale = absl::GetFlag(FLAGS_sim_time_scale);
  worker.num_threads = absl::GetFlag(FLAGS_num_threads);
  worker.instruction_set = absl::GetFlag(FLAGS_instruction_set);
  ASSIGN_OR_RETURN(worker.compute_dtype, ParseDType(absl::GetFlag(FLAGS_compute_dtype)));
  worker.max_model_len = absl::GetFlag(FLAGS_max_model_len);
  worker.rope_scaling = absl::GetFlag(FLAGS_rope_scaling);
  worker.kv_cache_bytes = absl::GetFlag(FLAGS_kv_cache_bytes);
  worker.max_num_batched_tokens = absl::GetFlag(FLAGS_max_num_batched_tokens);
  worker.max_num_seqs = absl::GetFlag(FLAGS_max_num_seqs);
  worker.max_waiting = absl::GetFlag(FLAGS_max_waiting);
  worker.max_waiting_tokens = absl::GetFlag(FLAGS_max_waiting_tokens);
  worker.enable_prefix_caching = absl::GetFlag(FLAGS_enable_prefix_caching);
  worker.itl_target = absl::GetFlag(FLAGS_itl_target);
  worker.metrics_address = absl::GetFlag(FLAGS_metrics_address);
  worker.tokenizer_address = absl::GetFlag(FLAGS_tokenizer_address);
  worker.max_grammar_bytes = absl::GetFlag(FLAGS_max_grammar_bytes);
  worker.grammar_cache_bytes = absl::GetFlag(FLAGS_grammar_cache_bytes);
  worker.grammar_timeout = absl::GetFlag(FLAGS_grammar_timeout);
  worker.group_timeout = absl::GetFlag(FLAGS_group_timeout);
  worker.local_ranks = absl::GetFlag(FLAGS_local_ranks);
  worker.step_timeout = absl::GetFlag(FLAGS_step_timeout);
  worker.step_timeout_factor = absl::GetFlag(FLAGS_step_timeout_factor);
  worker.idle_probe_interval = absl::GetFlag(FLAGS_idle_probe_interval);
  options.heartbeat_fd = absl::GetFlag(FLAGS_heartbeat_fd);
  ASSIGN_OR_RETURN(options.log_level, common::ParseLogLevel(absl::GetFlag(FLAGS_log_level)));
  options.die_with_parent = absl::GetFlag(FLAGS_die_with_parent);
  RETURN_IF_ERROR(CheckRanges(worker));
  return options;
}

// 2: what only other flags or files can mend, so that a restart is of no use.
int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return 2;
    default:
      return 1;
  }
}

int Main(pid_t parent) {
  const absl::StatusOr<ProcessOptions> options = ReadFlags();
  if (!options.ok()) {
    const std::string message(options.status().message());
    std::fprintf(stderr, "quartet-worker: %s\n", message.c_str());
    return 2;
  }
  if (options->die_with_parent) common::DieWithParent(parent);
  common::SetLogProcessName(absl::StrCat("worker-", options->worker.rank));
  common::SetLogLevel(options->log_level);
  // Not on the stack: the thread that waits for signals is never joined.
  static ProcessEnd end;
  const common::Heartbeat heartbeat(options->heartbeat_fd,
                                    [] { return end.loop().IsWell(kLoopLimit); });
  std::thread([] {
    while (true) {
      common::LogInfo("signal received", {{"signal", common::WaitForTermination()}});
      end.Stop();
    }
  }).detach();
  const absl::Status status = options->worker.rank == 0 ? Leader(options->worker, &end).Run()
                                                        : RunFollowerProcess(options->worker, &end);
  if (!status.ok()) common::LogError("worker ends", {{"reason", status.message()}});
  return ExitCode(status);
}

}  // namespace
}  // namespace quartet::worker_service

int main(int argc, char** argv) {
  const pid_t parent = getppid();  // first of all, so that it can hardly be gone yet
  quartet::common::BlockTerminationSignals();
  quartet::common::ConfigureProgram(
      "runs one rank of a model and, as rank 0, serves gateways over gRPC.\n"
      "quartet-worker --model=PATH --address=unix:/path");
  absl::ParseCommandLine(argc, argv);
  // Without running destructors of statics, which threads of gRPC may still use.
  const int code = quartet::worker_service::Main(parent);
  std::fflush(nullptr);
  _exit(code);
}
