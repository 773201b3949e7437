// Products with packed weights. A task is a group of panels times a block of rows; threads take
// tasks from a counter. However the work is cut, each element of the result is summed in order of
// k, so its bits don't depend on the cut.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// A panel is read from memory for the first tile of rows and lies in the second-level cache for the
// others; rows beyond these would push it out. Cutting along k as well, to stay in the first-level
// cache, was slower at every shape tried.
constexpr int64_t kRowsPerBlock = 128;
// Tasks for each thread, so that a slow thread delays the others little.
constexpr int64_t kTasksPerThread = 8;
// A task of one row reads memory and little else: larger ones keep the stream going.
constexpr int64_t kMaxPanelsPerTask = 8;
constexpr int64_t kMaxPanelsPerTaskOfOneRow = 64;

// How one product is cut.
struct Cut {
  int64_t panels_per_task = 1;
  int64_t num_panel_groups = 1;
  int64_t rows_per_task = 1;
  int64_t num_row_blocks = 1;
};

Cut CutOf(const MatmulArgs& args, int num_threads) {
  Cut cut;
  const int64_t panels = NumPanels(args.weight.rows);
  cut.num_row_blocks = (args.num_tokens + kRowsPerBlock - 1) / kRowsPerBlock;
  cut.rows_per_task = (args.num_tokens + cut.num_row_blocks - 1) / cut.num_row_blocks;
  const int64_t groups = std::max<int64_t>(1, num_threads * kTasksPerThread / cut.num_row_blocks);
  cut.panels_per_task = std::clamp<int64_t>(
      panels / groups, 1, args.num_tokens > 1 ? kMaxPanelsPerTask : kMaxPanelsPerTaskOfOneRow);
  cut.num_panel_groups = (panels + cut.panels_per_task - 1) / cut.panels_per_task;
  return cut;
}

template <typename T>
void RunTask(const MatmulArgs& args, const Cut& cut, int64_t task, const T* x,
             void (*kernel)(const MatmulPanelArgs<T>&), PathCounters* paths) {
  const int64_t cols = args.weight.cols;
  const int64_t first_row = task % cut.num_row_blocks * cut.rows_per_task;
  const int64_t first_panel = task / cut.num_row_blocks * cut.panels_per_task;
  const int64_t end_panel =
      std::min(first_panel + cut.panels_per_task, NumPanels(args.weight.rows));
  const int64_t segment_pairs = cols / 2 / args.num_segments;
  MatmulPanelArgs<T> panel_args;
  panel_args.x_stride = cols;
  panel_args.num_pairs = segment_pairs;
  panel_args.out_stride = args.weight.rows;
  panel_args.rows = std::min(cut.rows_per_task, args.num_tokens - first_row);
  panel_args.paths = paths;
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    const int64_t column = panel * kPanelColumns;
    const uint16_t* weights =
        args.weight.data.As<const uint16_t>().raw() + panel * PanelElements(cols);
    panel_args.cols = static_cast<int>(std::min<int64_t>(kPanelColumns, args.weight.rows - column));
    if (paths != nullptr && panel_args.cols < kPanelColumns) {
      CountPath(&paths->matmul_ragged_panels);
    }
    for (int64_t segment = 0; segment < args.num_segments; ++segment) {
      panel_args.x = x + first_row * cols + segment * 2 * segment_pairs;
      panel_args.panel = weights + segment * segment_pairs * 2 * kPanelColumns;
      panel_args.out =
          args.out.raw() + (segment * args.num_tokens + first_row) * args.weight.rows + column;
      kernel(panel_args);
    }
  }
}

template <typename T>
void Run(Context& context, const MatmulArgs& args, const T* x,
         void (*kernel)(const MatmulPanelArgs<T>&)) {
  const Cut cut = CutOf(args, context.pool.num_threads());
  if (context.paths != nullptr) {
    if (args.num_segments > 1) CountPath(&context.paths->matmul_segmented);
    if (cut.num_row_blocks > 1) CountPath(&context.paths->matmul_row_blocks);
  }
  context.pool.ParallelFor(cut.num_panel_groups * cut.num_row_blocks, [&](int64_t task, int) {
    RunTask(args, cut, task, x, kernel, context.paths);
  });
}

// bf16 activations as f32, for instruction sets without a bf16 product.
const float* Expand(Context& context, const uint16_t* x, int64_t size) {
  constexpr int64_t kGrain = 16384;
  if (context.paths != nullptr) CountPath(&context.paths->matmul_expanded);
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
