// Rotary positions: the table of angles, and rotation of q and k together with the write of k and v
// into the paged cache.
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

// Scratch of one thread: a head in f32 and in bf16.
struct HeadScratch {
  float* rotated;  // [head_dim]
  uint16_t* bf16;  // [head_dim]
};

// A token's key of one head: 16 tokens of each (pair of) dimension lie together.
void WriteKey(const KvCacheLayer& cache, int64_t head_block, int offset, const HeadScratch& head,
              const KernelTable& kernels) {
  const int64_t base = head_block * HeadBlockElements(cache.head_dim);
  if (cache.dtype == DType::kFloat32) {
    float* keys = cache.keys.As<float>().raw() + base + offset;
    for (int d = 0; d < cache.head_dim; ++d) keys[d * kCacheTokens] = head.rotated[d];
    return;
  }
  kernels.round_to_bf16(head.rotated, cache.head_dim, head.bf16);
  uint16_t* keys = cache.keys.As<uint16_t>().raw() + base + 2 * offset;
  for (int d = 0; d < cache.head_dim; d += 2) {
    std::memcpy(keys + d * kCacheTokens, head.bf16 + d, 2 * sizeof(uint16_t));
  }
}

void WriteValue(const KvCacheLayer& cache, int64_t head_block, int offset, const HeadScratch& head,
                const KernelTable& kernels) {
  const int64_t base = head_block * HeadBlockElements(cache.head_dim);
  if (cache.dtype == DType::kFloat32) {
    float* values = cache.values.As<float>().raw() + base + offset * cache.head_dim;
    std::memcpy(values, head.rotated, sizeof(float) * cache.head_dim);
    return;
  }
  kernels.round_to_bf16(head.rotated, cache.head_dim, head.bf16);
  uint16_t* values = cache.values.As<uint16_t>().raw() + base +
                     static_cast<int64_t>(offset / 2) * 2 * cache.head_dim + offset % 2;
  for (int d = 0; d < cache.head_dim; ++d) values[2 * d] = head.bf16[d];
}

void WriteQuery(const Activation& q, int64_t first, int head_dim, const float* rotated,
                const KernelTable& kernels) {
  if (q.dtype == DType::kFloat32) {
    std::memcpy(q.data.As<float>().raw() + first, rotated, sizeof(float) * head_dim);
  } else {
    kernels.round_to_bf16(rotated, head_dim, q.data.As<uint16_t>().raw() + first);
  }
}

void RopeToken(const RopeAndCacheArgs& args, int64_t t, const HeadScratch& scratch,
               const KernelTable& kernels) {
  const int head_dim = args.cache.head_dim;
  const int half = head_dim / 2;
  const int num_kv_heads = args.cache.num_kv_heads;
  const int64_t row_width = static_cast<int64_t>(args.num_heads + 2 * num_kv_heads) * head_dim;
  const float* row = args.qkv.raw() + t * row_width;
  const float* bias = args.bias.raw();
  const float* cos = args.cos_sin.raw() + t * head_dim;
  const auto rotate = [&](int head) {
    const int64_t first = static_cast<int64_t>(head) * head_dim;
    kernels.rotate(row + first, bias == nullptr ? nullptr : bias + first, cos, cos + half, half,
                   scratch.rotated);
  };
  for (int head = 0; head < args.num_heads; ++head) {
    rotate(head);
    WriteQuery(args.q, (t * args.num_heads + head) * head_dim, head_dim, scratch.rotated, kernels);
  }
  const int64_t block = args.slot_mapping.raw()[t] / kBlockTokens;
  const int offset = args.slot_mapping.raw()[t] % kBlockTokens;
  for (int head = 0; head < num_kv_heads; ++head) {
    const int64_t head_block = block * num_kv_heads + head;
    rotate(args.num_heads + head);
    WriteKey(args.cache, head_block, offset, scratch, kernels);
    const int64_t first = static_cast<int64_t>(args.num_heads + num_kv_heads + head) * head_dim;
    for (int d = 0; d < head_dim; ++d) {
      scratch.rotated[d] = row[first + d] + (bias == nullptr ? 0.0f : bias[first + d]);
    }
    WriteValue(args.cache, head_block, offset, scratch, kernels);
  }
}

}  // namespace

absl::Status RopeTable(Context& context, const RopeTableArgs& args) {
  const int half = args.head_dim / 2;
  context.pool.ParallelForRange(args.num_tokens, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* cos = args.cos_sin.raw() + t * args.head_dim;
      const double position = args.positions.raw()[t];
      for (int i = 0; i < half; ++i) {
        const double angle = position * args.inverse_frequencies.raw()[i];
        cos[i] = static_cast<float>(std::cos(angle) * args.scale);
        cos[half + i] = static_cast<float>(std::sin(angle) * args.scale);
      }
    }
  });
  return absl::OkStatus();
}

absl::Status RopeAndCache(Context& context, const RopeAndCacheArgs& args) {
  const int64_t num_slots = args.cache.num_blocks * kBlockTokens;
  if (args.cache.head_dim <= 0 || args.cache.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("RopeAndCache: head_dim is ", args.cache.head_dim, "; it must be even"));
  }
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    const int32_t slot = args.slot_mapping.raw()[t];
    if (slot < 0 || slot >= num_slots) {
      return absl::InvalidArgumentError(absl::StrCat("RopeAndCache: token ", t, " has slot ", slot,
                                                     " of a cache of ", num_slots, " slots"));
    }
  }
  if (context.paths != nullptr) {
    CountPath(args.bias ? &context.paths->ropes_with_bias : &context.paths->ropes_without_bias);
  }
  const int64_t head_dim = args.cache.head_dim;
  context.thread_scratch.resize(context.pool.num_threads());
  for (std::vector<float>& scratch : context.thread_scratch) {
    if (static_cast<int64_t>(scratch.size()) < 2 * head_dim) scratch.resize(2 * head_dim);
  }
  // Four tokens are worth a thread; two neighbours in one cache line of the cache cost less than
  // they save.
  context.pool.ParallelForRange(args.num_tokens, 4, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = context.thread_scratch[thread].data();
    const HeadScratch head = {scratch, reinterpret_cast<uint16_t*>(scratch + head_dim)};
    for (int64_t t = begin; t < end; ++t) RopeToken(args, t, head, context.kernels);
  });
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
