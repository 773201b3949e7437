#include "worker/parallel/shard.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace quartet::parallel {
namespace {

// Whether o_proj's and down_proj's columns fall into num_kv_heads segments of even width.
bool SegmentsAreEven(const ShardedSizes& sizes) {
  if (sizes.num_kv_heads < 1 || sizes.num_heads % sizes.num_kv_heads != 0) return false;
  const int64_t attention_width =
      static_cast<int64_t>(sizes.num_heads / sizes.num_kv_heads) * sizes.head_dim;
  return attention_width % 2 == 0 &&
         sizes.intermediate_size % (2 * int64_t{sizes.num_kv_heads}) == 0;
}

}  // namespace

std::vector<int> PossibleWorldSizes(const ShardedSizes& sizes) {
  std::vector<int> possible;
  if (!SegmentsAreEven(sizes)) return possible;
  for (int size = 1; size <= sizes.num_kv_heads; ++size) {
    if (sizes.num_kv_heads % size == 0) possible.push_back(size);
  }
  return possible;
}

absl::StatusOr<Shard> MakeShard(const ShardedSizes& sizes, int rank, int world_size) {
  const std::vector<int> possible = PossibleWorldSizes(sizes);
  if (possible.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this model can't be served at any tensor parallel size: its ",
                     sizes.num_kv_heads, " key/value heads must divide the ", sizes.num_heads,
                     " query heads and cut intermediate_size ", sizes.intermediate_size,
                     " into segments of even width"));
  }
  if (std::find(possible.begin(), possible.end(), world_size) == possible.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor parallel size ", world_size, " doesn't divide this model's ",
                     sizes.num_heads, " query and ", sizes.num_kv_heads, " key/value heads; use ",
                     absl::StrJoin(possible, ", ")));
  }
  if (rank < 0 || rank >= world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " is outside 0..", world_size - 1,
                                                   " of tensor parallel size ", world_size));
  }
  if (sizes.vocab_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size ", sizes.vocab_size, " must be positive"));
  }
  Shard shard;
  shard.rank = rank;
  shard.world_size = world_size;
  shard.head_dim = sizes.head_dim;
  shard.num_heads = sizes.num_heads / world_size;
  shard.first_head = rank * shard.num_heads;
  shard.num_kv_heads = sizes.num_kv_heads / world_size;
  shard.first_kv_head = rank * shard.num_kv_heads;
  shard.intermediate_size = sizes.intermediate_size / world_size;
  shard.first_intermediate = rank * shard.intermediate_size;
  shard.vocab_size = sizes.vocab_size;
  shard.vocab_rows = (sizes.vocab_size + world_size - 1) / world_size;
  shard.first_vocab_row = rank * shard.vocab_rows;
  shard.vocab_rows_in_file =
      std::clamp<int64_t>(sizes.vocab_size - shard.first_vocab_row, 0, shard.vocab_rows);
  shard.num_segments = shard.num_kv_heads;
  shard.total_num_segments = sizes.num_kv_heads;
  return shard;
}

}  // namespace quartet::parallel
