// The operations that treat each token's row for itself: RMSNorm, SwiGLU, gathering rows, and
// adding up segments.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// Elements a thread should get at least; less isn't worth waking it for.
constexpr int64_t kGrainElements = 8192;

int64_t RowGrain(int64_t width) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, width));
}

struct OutRow {
  uint16_t* bf16 = nullptr;
  float* f32 = nullptr;
};

OutRow RowOf(const Activation& activation, int64_t row, int64_t width) {
  if (activation.dtype == DType::kBFloat16) {
    return {.bf16 = activation.data.As<uint16_t>().raw() + row * width};
  }
  return {.f32 = activation.data.As<float>().raw() + row * width};
}

}  // namespace

absl::Status AddRmsNorm(Context& context, const AddRmsNormArgs& args) {
  if (context.paths != nullptr) {
    CountPath(args.delta ? &context.paths->norms_after_adding : &context.paths->norms_alone);
  }
  const int64_t width = args.hidden_size;
  context.pool.ParallelForRange(
      args.num_tokens, RowGrain(width), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const OutRow out = RowOf(args.out, t, width);
          context.kernels.add_rms_norm(args.residual.raw() + t * width,
                                       args.delta ? args.delta.raw() + t * width : nullptr,
                                       args.weight.raw(), args.epsilon, width, out.bf16, out.f32);
        }
      });
  return absl::OkStatus();
}

absl::Status Swiglu(Context& context, const SwigluArgs& args) {
  // Long rows are divided too: the elements are independent.
  const int64_t width = args.intermediate_size;
  const int64_t pieces = std::max<int64_t>(1, width / kGrainElements);
  const int64_t piece = (width + pieces - 1) / pieces;
  const int64_t grain = std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, piece));
  context.pool.ParallelForRange(
      args.num_tokens * pieces, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t t = i / pieces;
          const int64_t first = i % pieces * piece;
          const int64_t size = std::min(piece, width - first);
          if (size <= 0) continue;
          const float* gate = args.gate_up.raw() + t * 2 * width + first;
          const OutRow out = RowOf(args.out, t, width);
          context.kernels.swiglu(gate, gate + width, size,
                                 out.bf16 == nullptr ? nullptr : out.bf16 + first,
                                 out.f32 == nullptr ? nullptr : out.f32 + first);
        }
      });
  return absl::OkStatus();
}

absl::Status GatherRows(Context& context, const GatherRowsArgs& args) {
  context.pool.ParallelForRange(args.num_rows, RowGrain(args.width),
                                [&](int64_t begin, int64_t end, int) {
                                  for (int64_t r = begin; r < end; ++r) {
                                    std::memcpy(args.out.raw() + r * args.width,
                                                args.in.raw() + args.rows.raw()[r] * args.width,
                                                static_cast<size_t>(args.width) * sizeof(float));
                                  }
                                });
  return absl::OkStatus();
}

absl::Status SumSegments(Context& context, const SumSegmentsArgs& args) {
  if (args.num_segments < 1 || args.count < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot sum ", args.num_segments, " segments of ", args.count, " elements"));
  }
  // Pieces small enough that the running sum stays in the first-level cache.
  constexpr int64_t kPiece = 2048;
  const int64_t pieces = (args.count + kPiece - 1) / kPiece;
  const int64_t grain = std::max<int64_t>(1, kGrainElements / (kPiece * args.num_segments));
  context.pool.ParallelForRange(pieces, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kPiece;
      const int64_t size = std::min(kPiece, args.count - first);
      float* __restrict__ out = args.out.raw() + first;
      std::memcpy(out, args.segments.raw() + first, static_cast<size_t>(size) * sizeof(float));
      for (int segment = 1; segment < args.num_segments; ++segment) {
        const float* __restrict__ in = args.segments.raw() + segment * args.count + first;
        for (int64_t i = 0; i < size; ++i) out[i] += in[i];
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
