// Attention over the paged cache. Query rows (token, head of the group) that share a KV head form
// tiles; a tile goes through its splits of the cache in order and merges them. When there are few
// tiles, as in decoding, the splits are computed apart, in parallel, and merged afterwards in the
// same order by the same function: the same bits.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/cpu/operations.h"

namespace quartet::kernels::cpu {
namespace {

struct Tile {
  int64_t sequence = 0;
  int kv_head = 0;
  int64_t first_row = 0;  // among the sequence's rows: new token * group size + head of the group
  int rows = 0;
  int64_t num_splits = 0;
};

// What a tile has summed up so far, or one split of it; points into scratch.
struct Part {
  float* max;  // [rows]
  float* sum;  // [rows]
  float* acc;  // [rows, head_dim]
};

int64_t PartFloats(int head_dim) {
  return static_cast<int64_t>(kMaxAttentionRows) * (head_dim + 2);
}

Part PartAt(float* memory) {
  return {memory, memory + kMaxAttentionRows, memory + 2 * kMaxAttentionRows};
}

// One thread's working memory.
int64_t ScratchFloats(int head_dim) {
  return kMaxAttentionRows * (2 * head_dim + kSplitTokens + kSplitTokens / 2) +
         2 * PartFloats(head_dim);
}

int64_t GroupSize(const AttentionArgs& args) { return args.num_heads / args.cache.num_kv_heads; }

int64_t NumQueries(const AttentionArgs& args, int64_t sequence) {
  return args.query_start.raw()[sequence + 1] - args.query_start.raw()[sequence];
}

// Positions that new token `query` of the sequence sees.
int64_t Visible(const AttentionArgs& args, int64_t sequence, int64_t query) {
  return args.kv_len.raw()[sequence] - NumQueries(args, sequence) + query + 1;
}

absl::Status CheckSequence(const AttentionArgs& args, int64_t s) {
  const int64_t queries = NumQueries(args, s);
  const int64_t kv_len = args.kv_len.raw()[s];
  if (queries < 0 || kv_len < queries || kv_len > args.max_blocks * kBlockTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("Attention: sequence ", s, " has ", queries, " new tokens, ", kv_len,
                     " positions and room for ", args.max_blocks, " blocks"));
  }
  const int64_t blocks = (kv_len + kBlockTokens - 1) / kBlockTokens;
  for (int64_t i = 0; i < blocks; ++i) {
    const int32_t block = args.block_tables.raw()[s * args.max_blocks + i];
    if (block < 0 || block >= args.cache.num_blocks) {
      return absl::InvalidArgumentError(absl::StrCat("Attention: sequence ", s, " names block ",
                                                     block, " of ", args.cache.num_blocks));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckArgs(const AttentionArgs& args) {
  if (args.cache.num_kv_heads <= 0 || args.num_heads % args.cache.num_kv_heads != 0 ||
      args.cache.head_dim <= 0 || args.cache.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("Attention: ", args.num_heads, " heads over ",
                                                   args.cache.num_kv_heads, " KV heads of ",
                                                   args.cache.head_dim, " dimensions"));
  }
  if (args.q.dtype != args.cache.dtype) {
    return absl::InvalidArgumentError("Attention: q and the cache have different dtypes");
  }
  for (int64_t s = 0; s < args.num_sequences; ++s) RETURN_IF_ERROR(CheckSequence(args, s));
  return absl::OkStatus();
}

std::vector<Tile> TilesOf(const AttentionArgs& args) {
  std::vector<Tile> tiles;
  const int64_t group = GroupSize(args);
  for (int64_t s = 0; s < args.num_sequences; ++s) {
    const int64_t rows = NumQueries(args, s) * group;
    for (int64_t first = 0; first < rows; first += kMaxAttentionRows) {
      const int64_t end = std::min<int64_t>(rows, first + kMaxAttentionRows);
      const int64_t visible = Visible(args, s, (end - 1) / group);
      for (int head = 0; head < args.cache.num_kv_heads; ++head) {
        tiles.push_back({s, head, first, static_cast<int>(end - first),
                         (visible + kSplitTokens - 1) / kSplitTokens});
      }
    }
  }
  return tiles;
}

// Runs tiles of one cache dtype.
template <typename T>
class TileRunner {
 public:
  TileRunner(Context& context, const AttentionArgs& args,
             void (*kernel)(const AttentionSplitArgs<T>&))
      : context_(context), args_(args), kernel_(kernel), head_dim_(args.cache.head_dim) {}

  void RunWhole(const Tile& tile, int thread) {
    float* scratch = context_.thread_scratch[thread].data();
    const Part total = PartAt(scratch);
    const Part part = PartAt(scratch + PartFloats(head_dim_));
    if (context_.paths != nullptr) CountPath(&context_.paths->attention_whole[SplitClass(tile)]);
    CopyQueries(tile, scratch);
    RunSplit(tile, 0, scratch, total);
    for (int64_t split = 1; split < tile.num_splits; ++split) {
      RunSplit(tile, split, scratch, part);
      Merge(tile, split, part, total);
    }
    Finish(tile, total);
  }

  void RunOneSplit(const Tile& tile, int64_t split, float* part, int thread) {
    float* scratch = context_.thread_scratch[thread].data();
    CopyQueries(tile, scratch);
    RunSplit(tile, split, scratch, PartAt(part));
  }

  // `parts`: the results of RunOneSplit for all splits of the tile, PartFloats apart.
  void MergeSplits(const Tile& tile, float* parts) {
    const Part total = PartAt(parts);
    if (context_.paths != nullptr) CountPath(&context_.paths->attention_apart[SplitClass(tile)]);
    for (int64_t split = 1; split < tile.num_splits; ++split) {
      Merge(tile, split, PartAt(parts + split * PartFloats(head_dim_)), total);
    }
    Finish(tile, total);
  }

 private:
  static int64_t SplitClass(const Tile& tile) {
    return std::min<int64_t>(tile.num_splits, PathCounters::kManySplits);
  }

  // Where the parts of a thread's scratch begin.
  T* Queries(float* scratch) const {
    return reinterpret_cast<T*>(scratch + 2 * PartFloats(head_dim_));
  }
  float* AfterQueries(float* scratch) const {
    return scratch + 2 * PartFloats(head_dim_) + kMaxAttentionRows * head_dim_;
  }

  int64_t VisibleInSplit(const Tile& tile, int row, int64_t split) const {
    const int64_t query = (tile.first_row + row) / GroupSize(args_);
    return std::clamp<int64_t>(Visible(args_, tile.sequence, query) - split * kSplitTokens, 0,
                               kSplitTokens);
  }

  // Element of q and of the output where the tile's row begins.
  int64_t RowOffset(const Tile& tile, int row) const {
    const int64_t group = GroupSize(args_);
    const int64_t flat = tile.first_row + row;
    const int64_t token = args_.query_start.raw()[tile.sequence] + flat / group;
    return (token * args_.num_heads + tile.kv_head * group + flat % group) * head_dim_;
  }

  void CopyQueries(const Tile& tile, float* scratch) {
    const T* q = args_.q.data.template As<const T>().raw();
    for (int row = 0; row < tile.rows; ++row) {
      std::memcpy(Queries(scratch) + static_cast<int64_t>(row) * head_dim_,
                  q + RowOffset(tile, row), sizeof(T) * head_dim_);
    }
  }

  void RunSplit(const Tile& tile, int64_t split, float* scratch, const Part& out) {
    const T* keys[kSplitBlocks] = {};
    const T* values[kSplitBlocks] = {};
    int visible[kMaxAttentionRows];
    for (int row = 0; row < tile.rows; ++row) {
      visible[row] = static_cast<int>(VisibleInSplit(tile, row, split));
    }
    const int max_visible = *std::max_element(visible, visible + tile.rows);
    const int32_t* table = args_.block_tables.raw() + tile.sequence * args_.max_blocks;
    for (int i = 0; i * kCacheTokens < max_visible; ++i) {
      const int64_t head_block =
          static_cast<int64_t>(table[split * kSplitBlocks + i]) * args_.cache.num_kv_heads +
          tile.kv_head;
      const int64_t offset = head_block * HeadBlockElements(head_dim_);
      keys[i] = args_.cache.keys.template As<const T>().raw() + offset;
      values[i] = args_.cache.values.template As<const T>().raw() + offset;
    }
    float* q_f32 = AfterQueries(scratch);
    float* scores = q_f32 + kMaxAttentionRows * head_dim_;
    auto* probabilities = reinterpret_cast<uint16_t*>(
        scores + static_cast<int64_t>(kMaxAttentionRows) * kSplitTokens);
    kernel_({Queries(scratch), tile.rows, head_dim_, args_.scale, keys, values, visible,
             max_visible, q_f32, scores, probabilities, out.max, out.sum, out.acc, context_.paths});
  }

  void Merge(const Tile& tile, int64_t split, const Part& part, const Part& total) {
    for (int row = 0; row < tile.rows; ++row) {
      if (VisibleInSplit(tile, row, split) == 0) {
        if (context_.paths != nullptr) CountPath(&context_.paths->attention_unseen_splits);
        continue;
      }
      const int64_t acc = static_cast<int64_t>(row) * head_dim_;
      context_.kernels.attention_merge(part.max[row], part.sum[row], part.acc + acc, head_dim_,
                                       total.max + row, total.sum + row, total.acc + acc);
    }
  }

  void Finish(const Tile& tile, const Part& total) {
    const bool bf16 = args_.out.dtype == DType::kBFloat16;
    for (int row = 0; row < tile.rows; ++row) {
      const int64_t offset = RowOffset(tile, row);
      context_.kernels.attention_finish(
          total.acc + static_cast<int64_t>(row) * head_dim_, total.sum[row], head_dim_,
          bf16 ? args_.out.data.template As<uint16_t>().raw() + offset : nullptr,
          bf16 ? nullptr : args_.out.data.template As<float>().raw() + offset);
    }
  }

  Context& context_;
  const AttentionArgs& args_;
  void (*kernel_)(const AttentionSplitArgs<T>&);
  const int head_dim_;
};

template <typename T>
void RunTiles(Context& context, const AttentionArgs& args, const std::vector<Tile>& tiles,
              void (*kernel)(const AttentionSplitArgs<T>&)) {
  TileRunner<T> runner(context, args, kernel);
  ThreadPool& pool = context.pool;
  std::vector<int64_t> first_split(tiles.size() + 1, 0);
  for (size_t i = 0; i < tiles.size(); ++i)
    first_split[i + 1] = first_split[i] + tiles[i].num_splits;
  const int64_t num_tiles = static_cast<int64_t>(tiles.size());
  const int64_t num_splits = first_split.back();
  if (num_tiles >= 4 * pool.num_threads() || num_splits == num_tiles || pool.num_threads() == 1) {
    pool.ParallelFor(num_tiles, [&](int64_t i, int thread) { runner.RunWhole(tiles[i], thread); });
    return;
  }
  const int64_t part_floats = PartFloats(args.cache.head_dim);
  if (static_cast<int64_t>(context.attention_parts.size()) < num_splits * part_floats) {
    context.attention_parts.resize(num_splits * part_floats);
  }
  float* parts = context.attention_parts.data();
  pool.ParallelFor(num_splits, [&](int64_t i, int thread) {
    const auto after = std::upper_bound(first_split.begin(), first_split.end(), i);
    const int64_t tile = after - first_split.begin() - 1;
    runner.RunOneSplit(tiles[tile], i - first_split[tile], parts + i * part_floats, thread);
  });
  pool.ParallelFor(num_tiles, [&](int64_t i, int) {
    runner.MergeSplits(tiles[i], parts + first_split[i] * part_floats);
  });
}

}  // namespace

absl::Status Attention(Context& context, const AttentionArgs& args) {
  RETURN_IF_ERROR(CheckArgs(args));
  const std::vector<Tile> tiles = TilesOf(args);
  if (tiles.empty()) return absl::OkStatus();
  context.thread_scratch.resize(context.pool.num_threads());
  const size_t scratch_floats = static_cast<size_t>(ScratchFloats(args.cache.head_dim));
  for (std::vector<float>& scratch : context.thread_scratch) {
    if (scratch.size() < scratch_floats) scratch.resize(scratch_floats);
  }
  if (args.cache.dtype == DType::kFloat32) {
    RunTiles<float>(context, args, tiles, context.kernels.attention_f32);
  } else {
    RunTiles<uint16_t>(context, args, tiles, context.kernels.attention_bf16);
  }
  return absl::OkStatus();
}

}  // namespace quartet::kernels::cpu
