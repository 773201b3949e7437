// Speed of the real forward pass of one rank: prompt tokens a second and decoded tokens a second of
// one sequence, beside what the machine can do at best, probed just before and after.
// peer_llama_cpp.py runs it next to llama.cpp's own benchmark.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "tests/bench/machine_peaks.h"
#include "worker/device/cpu_device.h"
#include "worker/device/cpu_resources.h"
#include "worker/model/decoder.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_loader.h"
#include "worker/parallel/single_rank_communicator.h"

ABSL_FLAG(std::string, model, "", "Model directory or .gguf file.");
ABSL_FLAG(int, num_threads, 0, "Compute threads; 0: all cores.");
ABSL_FLAG(std::string, instruction_set, "auto", "auto, avx512, avx2 or portable.");
ABSL_FLAG(int, prompt_tokens, 512, "Length of the prompt, computed in one step.");
ABSL_FLAG(int, decode_tokens, 32, "Steps of one token each.");
ABSL_FLAG(int, context_tokens, 0, "Positions before the first decoded token.");
ABSL_FLAG(int, repetitions, 3, "Medians are taken over these.");
ABSL_FLAG(bool, json, false, "Print JSON.");

namespace quartet::bench {
namespace {

using model::Decoder;

struct Options {
  std::string model;
  device::CpuDeviceOptions device;
  int prompt_tokens = 0, decode_tokens = 0, context_tokens = 0, repetitions = 0;
  bool json = false;
};

struct Engine {
  std::unique_ptr<device::Device> device;
  parallel::SingleRankCommunicator communicator;
  model::ModelConfig config;
  int64_t weight_bytes = 0;
  std::unique_ptr<Decoder> decoder;
};

absl::Status Load(const Options& options, Engine* engine) {
  ASSIGN_OR_RETURN(engine->device, device::NewCpuDevice(options.device));
  ASSIGN_OR_RETURN(const model::LoadedConfig loaded, model::ReadModelConfig(options.model));
  engine->config = loaded.model;
  ASSIGN_OR_RETURN(const auto checkpoint, model::OpenCheckpoint(options.model));
  ASSIGN_OR_RETURN(const parallel::Shard shard,
                   parallel::MakeShard(model::ShardedSizesOf(engine->config), 0, 1));
  ASSIGN_OR_RETURN(model::ModelWeights weights,
                   model::LoadWeights(*checkpoint, engine->config, shard, *engine->device));
  engine->weight_bytes = weights.weight_bytes;
  model::DecoderOptions decoder_options;
  decoder_options.max_step_tokens = options.prompt_tokens;
  decoder_options.max_logits_rows = 1;
  const int64_t positions =
      std::max(options.prompt_tokens, options.context_tokens + options.decode_tokens);
  decoder_options.num_kv_blocks = positions / kernels::kBlockTokens + 1;
  decoder_options.max_model_len = positions;
  ASSIGN_OR_RETURN(engine->decoder,
                   Decoder::Create(engine->config, std::move(weights), shard, *engine->device,
                                   engine->communicator, decoder_options));
  return absl::OkStatus();
}

// One sequence's step: `count` tokens from position `first`, logits for the last.
model::StepInput Step(const Engine& engine, int first, int count) {
  model::StepInput input;
  for (int i = 0; i < count; ++i) {
    const int position = first + i;
    input.token_ids.push_back(
        static_cast<int32_t>((position * int64_t{7919} + 13) % engine.config.vocab_size));
    input.positions.push_back(position);
    input.slot_mapping.push_back(position);  // the sequence owns blocks 0, 1, 2, ...
  }
  input.query_start = {0, count};
  input.kv_len = {first + count};
  input.max_blocks = static_cast<int32_t>(engine.decoder->kv_cache().num_blocks());
  for (int32_t block = 0; block < input.max_blocks; ++block) input.block_tables.push_back(block);
  input.logits_rows = {count - 1};
  return input;
}

// Forward and a greedy choice, as the engine does it.
absl::Status Run(const Engine& engine, const model::StepInput& input) {
  RETURN_IF_ERROR(engine.decoder->Forward(input));
  kernels::SampleRow row;
  row.temperature = 0;
  std::vector<kernels::SampledToken> sampled;
  return engine.decoder->Sample({&row, 1}, &sampled);
}

struct Result {
  double prompt_tokens_per_second = 0, decode_tokens_per_second = 0;
  double bandwidth_before = 0, bandwidth_after = 0, bf16_peak_flops = 0;
  double flops_per_token = 0, bytes_per_step = 0;
};

absl::StatusOr<Result> Measure(const Options& options, const Engine& engine) {
  std::vector<double> prompt, decode;
  for (int repetition = -1; repetition < options.repetitions; ++repetition) {
    const model::StepInput whole_prompt = Step(engine, 0, options.prompt_tokens);
    const double begin = Seconds();
    RETURN_IF_ERROR(Run(engine, whole_prompt));
    const double middle = Seconds();
    for (int i = 0; i < options.decode_tokens; ++i) {
      RETURN_IF_ERROR(Run(engine, Step(engine, options.context_tokens + i, 1)));
    }
    const double end = Seconds();
    if (repetition < 0) continue;  // the first pass touches all memory
    prompt.push_back(options.prompt_tokens / (middle - begin));
    decode.push_back(options.decode_tokens / (end - middle));
  }
  Result result;
  result.prompt_tokens_per_second = Median(prompt);
  result.decode_tokens_per_second = Median(decode);
  return result;
}

// Bandwidth over memory of the device's own kind, large enough that no cache holds it.
absl::StatusOr<double> ProbeBandwidth(device::Device& device, int num_threads) {
  constexpr int64_t kBytes = 512 << 20;
  ASSIGN_OR_RETURN(const auto memory, device.Allocate(kBytes));
  char* const data = memory->data().As<char>().raw();
  std::fill_n(data, kBytes, 1);  // untouched pages are all one page of zeros
  std::vector<double> speeds;
  for (int i = 0; i < 5; ++i) speeds.push_back(ReadBytesPerSecond(data, kBytes, num_threads));
  return Median(speeds);
}

absl::Status Main(const Options& options) {
  if (options.model.empty()) return absl::InvalidArgumentError("--model is missing");
  if (options.prompt_tokens < 1 || options.decode_tokens < 1 || options.context_tokens < 0 ||
      options.repetitions < 1) {
    return absl::InvalidArgumentError("lengths and --repetitions must be positive");
  }
  Engine engine;
  RETURN_IF_ERROR(Load(options, &engine));
  const int threads =
      options.device.num_threads > 0 ? options.device.num_threads : device::UsableCores();
  ASSIGN_OR_RETURN(const double before, ProbeBandwidth(*engine.device, threads));
  ASSIGN_OR_RETURN(Result result, Measure(options, engine));
  ASSIGN_OR_RETURN(result.bandwidth_after, ProbeBandwidth(*engine.device, threads));
  result.bandwidth_before = before;
  result.bf16_peak_flops = PeakBf16FlopsPerSecond(threads);
  // The embedding is a table to look up in, and a prompt needs logits for its last token alone.
  const double head = static_cast<double>(engine.config.vocab_size * engine.config.hidden_size);
  const double products = static_cast<double>(model::NumParameters(engine.config)) -
                          head * (engine.config.tie_word_embeddings ? 1 : 2);
  result.flops_per_token = 2 * (products + head / options.prompt_tokens);
  result.bytes_per_step = 2 * (products + head);
  std::printf(options.json
                  ? "{\"prompt_tokens_per_second\": %.4f, \"decode_tokens_per_second\": %.4f, "
                    "\"bandwidth_before\": %.0f, \"bandwidth_after\": %.0f, "
                    "\"bf16_peak_flops\": %.0f, \"flops_per_token\": %.0f, "
                    "\"bytes_per_step\": %.0f}\n"
                  : "prompt %.1f tokens/s, decode %.1f tokens/s; bandwidth %.0f and %.0f B/s, "
                    "bf16 peak %.0f FLOP/s; %.0f operations a prompt token, %.0f bytes a step\n",
              result.prompt_tokens_per_second, result.decode_tokens_per_second,
              result.bandwidth_before, result.bandwidth_after, result.bf16_peak_flops,
              result.flops_per_token, result.bytes_per_step);
  return absl::OkStatus();
}

}  // namespace
}  // namespace quartet::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  quartet::bench::Options options;
  options.model = absl::GetFlag(FLAGS_model);
  options.device = {absl::GetFlag(FLAGS_num_threads), absl::GetFlag(FLAGS_instruction_set)};
  options.prompt_tokens = absl::GetFlag(FLAGS_prompt_tokens);
  options.decode_tokens = absl::GetFlag(FLAGS_decode_tokens);
  options.context_tokens = absl::GetFlag(FLAGS_context_tokens);
  options.repetitions = absl::GetFlag(FLAGS_repetitions);
  options.json = absl::GetFlag(FLAGS_json);
  const absl::Status status = quartet::bench::Main(options);
  if (!status.ok()) {
    std::fprintf(stderr, "engine_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
