// How fast the CPU's kernels are, next to what the machine can do, all in one run.
//   kernel_bench --mode=matmul   each product of a model's layers at several numbers of rows
//   kernel_bench --mode=layer    a forward pass's operations in order: decoding, and a prompt
#include <algorithm>
#include <cstdio>
#include <functional>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/status_macros.h"
#include "tests/bench/machine_peaks.h"
#include "tests/bench/simulated_model.h"
#include "worker/device/cpu_device.h"
#include "worker/device/cpu_resources.h"

ABSL_FLAG(std::string, mode, "layer", "matmul or layer");
ABSL_FLAG(int, num_threads, 0, "threads that compute; 0: all cores");
ABSL_FLAG(std::string, instruction_set, "auto", "auto, avx512, avx2 or portable");
ABSL_FLAG(bool, processor_time, false,
          "measure processor time instead of wall time; for --num_threads=1 on a busy machine");
ABSL_FLAG(int, repetitions, 15, "timed repetitions; the median is printed");
ABSL_FLAG(int, num_layers, 24, "layers of the simulated model (layer mode)");
ABSL_FLAG(int, prompt_tokens, 512, "length of the prompt (layer mode)");
ABSL_FLAG(int, context, 128, "positions in the cache when decoding (layer mode)");

namespace quartet::bench {
namespace {

using kernels::DevicePtr;
using kernels::DType;

struct Options {
  std::string mode;
  int num_threads = 0;
  std::string instruction_set;
  int repetitions = 0;
  int num_layers = 0;
  int prompt_tokens = 0;
  int context = 0;
};

// What the machine does at best; probed again before each group of figures, because neighbours on
// the machine change it.
struct Peaks {
  double flops = 0;  // 0: no bf16 products
  double bytes = 0;
};

class Prober {
 public:
  explicit Prober(int num_threads) : num_threads_(num_threads) {}

  absl::Status Allocate(device::Device& device) {
    ASSIGN_OR_RETURN(memory_, device.Allocate(int64_t{512} << 20));
    char* bytes = memory_->data().As<char>().raw();
    std::fill_n(bytes, memory_->bytes(), 1);
    return absl::OkStatus();
  }
  Peaks Probe() const {
    Peaks peaks;
    peaks.flops = PeakBf16FlopsPerSecond(num_threads_);
    std::vector<double> reads;
    for (int i = 0; i < 7; ++i) {
      reads.push_back(
          ReadBytesPerSecond(memory_->data().As<char>().raw(), memory_->bytes(), num_threads_));
    }
    peaks.bytes = Median(reads);
    std::printf("peak now: %.0f GFLOP/s (vdpbf16ps), read %.1f GB/s (median of 7)\n",
                peaks.flops / 1e9, peaks.bytes / 1e9);
    return peaks;
  }

 private:
  const int num_threads_;
  std::unique_ptr<device::Memory> memory_;
};

// Copies of one weight matrix, more than the caches hold, used in turn.
struct Weights {
  std::unique_ptr<device::Memory> memory;
  std::vector<kernels::PackedMatrix> copies;
};

absl::StatusOr<Weights> NewWeights(device::Device& device, int64_t rows, int64_t cols) {
  constexpr int64_t kTotalBytes = int64_t{320} << 20;
  const int64_t bytes = device.PackedBytes(rows, cols);
  const int64_t count = std::max<int64_t>(2, kTotalBytes / bytes);
  Weights weights;
  ASSIGN_OR_RETURN(weights.memory, device.Allocate(bytes * count));
  std::fill_n(weights.memory->data().As<uint16_t>().raw(), bytes * count / 2, uint16_t{0x3c00});
  for (int64_t i = 0; i < count; ++i) {
    weights.copies.push_back({weights.memory->data().As<char>() + i * bytes, rows, cols});
  }
  return weights;
}

absl::Status BenchMatmul(device::Device& device, const Options& options, const Prober& prober) {
  struct Product {
    const char* name;
    int64_t rows, cols;
    int segments;
  };
  constexpr int64_t kMaxTokens = 512;
  std::unique_ptr<device::Queue> queue = device.NewQueue();
  for (const Product& product :
       {Product{"qkv", 1152, 896, 1}, Product{"o", 896, 896, 2}, Product{"gate_up", 9728, 896, 1},
        Product{"down", 896, 4864, 2}, Product{"lm_head", 151936, 896, 1},
        Product{"7B gate_up/4", 9472, 3584, 1}}) {
    ASSIGN_OR_RETURN(const Weights weights, NewWeights(device, product.rows, product.cols));
    ASSIGN_OR_RETURN(const auto x, device.Allocate(kMaxTokens * product.cols * 4));
    ASSIGN_OR_RETURN(const auto out,
                     device.Allocate(kMaxTokens * product.rows * product.segments * 4));
    std::printf("\n%s: %ld x %ld, %d segments\n", product.name, product.rows, product.cols,
                product.segments);
    const Peaks peaks = prober.Probe();
    for (int64_t tokens : {1, 2, 4, 8, 16, 32, 64, 128, 512}) {
      if (product.rows > 100000 && tokens > 32) break;
      std::vector<double> times;
      for (int i = 0; i < options.repetitions * (tokens < 64 ? 8 : 1) + 2; ++i) {
        const double begin = Seconds();
        RETURN_IF_ERROR(queue->Matmul({{x->data(), DType::kBFloat16},
                                       tokens,
                                       weights.copies[i % weights.copies.size()],
                                       product.segments,
                                       out->data().As<float>()}));
        RETURN_IF_ERROR(queue->Wait());
        if (i >= 2) times.push_back(Seconds() - begin);
      }
      const double seconds = Median(times);
      const double flops = 2.0 * tokens * product.rows * product.cols / seconds;
      const double bytes = 2.0 * product.rows * product.cols / seconds;
      std::printf("  M=%-4ld %9.1f us  %7.1f GFLOP/s (%3.0f%%)  %6.1f GB/s (%3.0f%%)\n", tokens,
                  seconds * 1e6, flops / 1e9, peaks.flops > 0 ? flops / peaks.flops * 100 : 0,
                  bytes / 1e9, bytes / peaks.bytes * 100);
    }
  }
  return absl::OkStatus();
}

// One kind of step of the simulated model.
absl::Status BenchStep(SimulatedModel& model, const Options& options, const Prober& prober,
                       const ModelShape& shape, int64_t sequences, int64_t tokens,
                       int64_t context) {
  std::printf("\n%ld sequence(s) of %ld new token(s) after %ld positions\n", sequences, tokens,
              context);
  const Peaks peaks = prober.Probe();
  std::vector<std::pair<double, PassTimes>> passes;
  for (int i = 0; i < options.repetitions + 1; ++i) {
    ASSIGN_OR_RETURN(const PassTimes times, model.Forward(sequences, tokens, context));
    if (i > 0) passes.emplace_back(times.total(), times);
  }
  std::sort(passes.begin(), passes.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const PassTimes& median = passes[passes.size() / 2].second;
  const double total = static_cast<double>(sequences * tokens);
  const double flops = 2.0 * (total * static_cast<double>(shape.layer_weights()) +
                              static_cast<double>(sequences * shape.lm_head_weights()));
  const double bytes = 2.0 * static_cast<double>(shape.layer_weights() + shape.lm_head_weights());
  const double bound = std::max(peaks.flops > 0 ? flops / peaks.flops : 0, bytes / peaks.bytes);
  std::printf("  %.2f ms: layers' products %.2f, attention %.2f, lm_head %.2f, rest %.2f\n",
              median.total() * 1e3, median.matmul * 1e3, median.attention * 1e3,
              median.lm_head * 1e3, median.rest * 1e3);
  std::printf("  %.1f tokens/s; bound of products and bandwidth %.1f: %.0f%%\n",
              total / median.total(), total / bound, bound / median.total() * 100);
  return absl::OkStatus();
}

absl::Status BenchLayers(device::Device& device, const Options& options, const Prober& prober) {
  ModelShape shape;
  shape.num_layers = options.num_layers;
  constexpr int64_t kSequences = 16;
  const int64_t context = std::max(options.prompt_tokens, options.context) + 16;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<SimulatedModel> model,
      SimulatedModel::Create(device, shape, std::max<int64_t>(kSequences, options.prompt_tokens),
                             context, kSequences));
  for (int round = 0; round < 2; ++round) {
    RETURN_IF_ERROR(BenchStep(*model, options, prober, shape, 1, 1, options.context));
    RETURN_IF_ERROR(BenchStep(*model, options, prober, shape, 1, options.prompt_tokens, 0));
    RETURN_IF_ERROR(BenchStep(*model, options, prober, shape, kSequences, 1, options.context));
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<device::Device> device,
                   device::NewCpuDevice({options.num_threads, options.instruction_set}));
  const int num_threads = options.num_threads > 0 ? options.num_threads : device::UsableCores();
  std::printf("%s, %d threads, %s\n", MachineName().c_str(), num_threads,
              device->numerics_id().c_str());
  Prober prober(num_threads);
  RETURN_IF_ERROR(prober.Allocate(*device));
  if (options.mode == "matmul") return BenchMatmul(*device, options, prober);
  if (options.mode == "layer") return BenchLayers(*device, options, prober);
  return absl::InvalidArgumentError("--mode must be matmul or layer, not '" + options.mode + "'");
}

}  // namespace
}  // namespace quartet::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  quartet::bench::Options options;
  options.mode = absl::GetFlag(FLAGS_mode);
  options.num_threads = absl::GetFlag(FLAGS_num_threads);
  options.instruction_set = absl::GetFlag(FLAGS_instruction_set);
  options.repetitions = std::max(1, absl::GetFlag(FLAGS_repetitions));
  options.num_layers = std::max(1, absl::GetFlag(FLAGS_num_layers));
  options.prompt_tokens = std::max(1, absl::GetFlag(FLAGS_prompt_tokens));
  options.context = std::max(0, absl::GetFlag(FLAGS_context));
  if (absl::GetFlag(FLAGS_processor_time)) quartet::bench::UseProcessorTime();
  const absl::Status status = quartet::bench::Run(options);
  if (!status.ok()) {
    std::fprintf(stderr, "kernel_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
