#include "cli/service_flags.h"

#include "absl/strings/string_view.h"

namespace quartet::cli {
namespace {

constexpr unsigned kAll = kTokenizer | kWorker | kGateway;

constexpr ServiceFlag kServiceFlags[] = {
    {"model_name", kGateway, false, "Names that clients may send as \"model\"."},
    {"device", kWorker, false, "cpu, or simulated: no weights, steps take --sim_profile's time."},
    {"sim_profile", kWorker, false, "Hardware that the simulated device stands for: name or file."},
    {"sim_time_scale", kWorker, false, "Multiplies the simulated device's times."},
    {"num_threads", kWorker, false, "Compute threads of a rank; 0 shares the cores out."},
    {"instruction_set", kWorker, false, "auto, avx512, avx2 or portable."},
    {"compute_dtype", kWorker, false, "bfloat16, or float32 for comparison."},
    {"max_model_len", kWorker, false, "Longest prompt plus output, tokens."},
    {"rope_scaling", kWorker, false, "JSON as in config.json; overrides the model's."},
    {"kv_cache_bytes", kWorker, false, "KV cache of one rank; 0 takes a share of the free memory."},
    {"max_num_batched_tokens", kWorker, false, "Token budget of a step."},
    {"max_num_seqs", kWorker, false, "Sequences that run at once."},
    {"max_waiting", kWorker, false, "Sequences that may wait; beyond it requests are refused."},
    {"max_waiting_tokens", kWorker, false, "Tokens of prompts that may wait; likewise."},
    {"enable_prefix_caching", kWorker, true, "Whether prompts that begin alike share KV blocks."},
    {"itl_target", kWorker, false, "What a step may take while sequences decode; 0: no bound."},
    {"metrics_address", kWorker, false, "host:port of the leader's metrics; empty: none."},
    {"max_grammar_bytes", kWorker, false, "Largest schema or grammar that a request may send."},
    {"grammar_cache_bytes", kWorker, false, "Memory for compiled grammars."},
    {"grammar_timeout", kWorker, false, "How long compiling one grammar may take."},
    {"http_threads", kGateway, false, "Threads of the HTTP API."},
    {"group_timeout", kWorker, false, "How long ranks wait for each other at the start."},
    {"step_timeout", kWorker, false, "A step this much over its predicted time ends the group."},
    {"step_timeout_factor", kWorker, false, "Times the predicted time, on top of --step_timeout."},
    {"idle_probe_interval", kWorker, false, "How often idle ranks are asked for a sign of life."},
    {"max_inflight_requests", kGateway, false, "Requests in the gateway at once; beyond it 429."},
    {"max_inflight_prompt_tokens", kGateway, false,
     "Prompt tokens of all requests in the gateway together; beyond it 429."},
    {"max_group_imbalance", kGateway, false,
     "A worker group with more than this many times its even share is passed over."},
    {"resume_timeout", kGateway, false,
     "Seconds that a stream waits for a worker that comes back."},
    {"header_hold_ms", kGateway, false, "How long the HTTP status is held for the first token."},
    {"drain_timeout_ms", kGateway, false, "How long running requests may go on after SIGTERM."},
    {"max_text_bytes", kTokenizer, false, "Longer texts are refused."},
    {"log_level", kAll, false, "debug, info, warning or error."},
};

constexpr ServiceFlag kOwnedServiceFlags[] = {
    {"address", kTokenizer | kWorker, false, ""},
    {"rank", kWorker, false, ""},
    {"world_size", kWorker, false, ""},
    {"leader_address", kWorker, false, ""},
    {"tokenizer_address", kGateway | kWorker, false, ""},
    {"worker_address", kGateway, false, ""},
    {"announce_file", kGateway, false, ""},
    {"die_with_parent", kAll, true, ""},
    {"local_ranks", kWorker, false, ""},
    {"heartbeat_fd", kAll, false, ""},
};

}  // namespace

std::span<const ServiceFlag> ServiceFlags() { return kServiceFlags; }

std::span<const ServiceFlag> OwnedServiceFlags() { return kOwnedServiceFlags; }

}  // namespace quartet::cli
