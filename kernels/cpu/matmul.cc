// Products with packed weights. A task is a group of panels times a block of rows; threads take
// tasks from a counter. However the work is cut, each element of the result is summed in order of
// k, so its bits don't depend on the cut.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// From this many rows on, a product is cut along k as well, so that the rows' part and the panel's
// part stay in the near caches.
constexpr int64_t kBlockedRows = 32;
constexpr int64_t kPairsPerBlock = 256;
constexpr int64_t kRowsPerBlock = 256;
// Tasks for each thread, so that a slow thread delays the others little.
constexpr int64_t kTasksPerThread = 8;

// How one product is cut.
struct Cut {
  int64_t panels_per_task = 1;
  int64_t num_panel_groups = 1;
  int64_t rows_per_task = 1;
  int64_t num_row_blocks = 1;
  int64_t pairs_per_block = 1;
};

Cut CutOf(const MatmulArgs& args, int num_threads) {
  Cut cut;
  const int64_t panels = NumPanels(args.weight.rows);
  const int64_t segment_pairs = args.weight.cols / 2 / args.num_segments;
  cut.num_row_blocks = (args.num_tokens + kRowsPerBlock - 1) / kRowsPerBlock;
  cut.rows_per_task = (args.num_tokens + cut.num_row_blocks - 1) / cut.num_row_blocks;
  const int64_t groups = std::max<int64_t>(1, num_threads * kTasksPerThread / cut.num_row_blocks);
  cut.panels_per_task = std::clamp<int64_t>(panels / groups, 1, args.num_tokens > 1 ? 8 : 64);
  cut.num_panel_groups = (panels + cut.panels_per_task - 1) / cut.panels_per_task;
  cut.pairs_per_block = args.num_tokens < kBlockedRows ? segment_pairs : kPairsPerBlock;
  return cut;
}

template <typename T>
void RunTask(const MatmulArgs& args, const Cut& cut, int64_t task, const T* x,
             void (*kernel)(const MatmulPanelArgs<T>&)) {
  const int64_t first_row = task % cut.num_row_blocks * cut.rows_per_task;
  const int64_t first_panel = task / cut.num_row_blocks * cut.panels_per_task;
  const int64_t end_panel =
      std::min(first_panel + cut.panels_per_task, NumPanels(args.weight.rows));
  const int64_t segment_pairs = args.weight.cols / 2 / args.num_segments;
  MatmulPanelArgs<T> panel_args;
  panel_args.x_stride = args.weight.cols;
  panel_args.out_stride = args.weight.rows;
  panel_args.rows = std::min(cut.rows_per_task, args.num_tokens - first_row);
  for (int64_t segment = 0; segment < args.num_segments; ++segment) {
    float* out = args.out.raw() + (segment * args.num_tokens + first_row) * args.weight.rows;
    for (int64_t pair = 0; pair < segment_pairs; pair += cut.pairs_per_block) {
      const int64_t k_pair = segment * segment_pairs + pair;
      panel_args.x = x + first_row * args.weight.cols + 2 * k_pair;
      panel_args.num_pairs = std::min(cut.pairs_per_block, segment_pairs - pair);
      panel_args.accumulate = pair > 0;
      for (int64_t panel = first_panel; panel < end_panel; ++panel) {
        panel_args.panel = args.weight.data.As<const uint16_t>().raw() +
                           panel * PanelElements(args.weight.cols) + k_pair * 2 * kPanelColumns;
        panel_args.out = out + panel * kPanelColumns;
        panel_args.cols = static_cast<int>(
            std::min<int64_t>(kPanelColumns, args.weight.rows - panel * kPanelColumns));
        kernel(panel_args);
      }
    }
  }
}

template <typename T>
void Run(Context& context, const MatmulArgs& args, const T* x,
         void (*kernel)(const MatmulPanelArgs<T>&)) {
  const Cut cut = CutOf(args, context.pool.num_threads());
  context.pool.ParallelFor(cut.num_panel_groups * cut.num_row_blocks,
                           [&](int64_t task, int) { RunTask(args, cut, task, x, kernel); });
}

// bf16 activations as f32, for instruction sets without a bf16 product.
const float* Expand(Context& context, const uint16_t* x, int64_t size) {
  constexpr int64_t kGrain = 16384;
  if (static_cast<int64_t>(context.expanded.size()) < size) context.expanded.resize(size);
  float* out = context.expanded.data();
  context.pool.ParallelForRange(size, kGrain, [&](int64_t begin, int64_t end, int) {
    context.kernels.expand_bf16(x + begin, end - begin, out + begin);
  });
  return out;
}

}  // namespace

absl::Status Matmul(Context& context, const MatmulArgs& args) {
  if (args.num_segments < 1 || args.weight.cols % (2 * args.num_segments) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("Matmul: ", args.weight.cols,
                                                   " columns can't be cut into ", args.num_segments,
                                                   " segments of even width"));
  }
  if (args.num_tokens <= 0 || args.weight.rows <= 0) return absl::OkStatus();
  if (args.x.dtype == DType::kFloat32) {
    Run(context, args, args.x.data.As<const float>().raw(), context.kernels.matmul_f32);
    return absl::OkStatus();
  }
  const uint16_t* x = args.x.data.As<const uint16_t>().raw();
  if (context.kernels.matmul_bf16 != nullptr) {
    Run(context, args, x, context.kernels.matmul_bf16);
  } else {
    Run(context, args, Expand(context, x, args.num_tokens * args.weight.cols),
        context.kernels.matmul_f32);
  }
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
