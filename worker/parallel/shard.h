// Which rows, columns and heads of the model one rank owns. Plain arithmetic: nothing here knows a
// file or a device.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace quartet::parallel {

// The sizes of the whole model that a shard divides.
struct ShardedSizes {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
};

// One rank's part.
//
// What is summed over ranks (o_proj, down_proj) is cut into S = num_kv_heads column segments; a
// rank owns S / world_size whole segments, which are its columns. So the sums' order does not
// depend on the world size.
//
// Vocabulary: every rank has the same number of rows, vocab_rows = ceil(vocab_size / world_size),
// so that gathering logits moves equal counts. Where world_size doesn't divide vocab_size the last
// ranks own fewer rows of the file (vocab_rows_in_file, down to 0); the rest are zeros in the
// packed matrices and give logits of 0. The gathered logits are then vocab_rows * world_size wide,
// and columns from vocab_size up are padding: never sampled, never part of a softmax.
struct Shard {
  int rank = 0;
  int world_size = 1;

  int head_dim = 0;
  int first_head = 0;  // query heads [first_head, first_head + num_heads)
  int num_heads = 0;
  int first_kv_head = 0;
  int num_kv_heads = 0;
  int64_t first_intermediate = 0;  // rows of gate and of up, columns of down
  int64_t intermediate_size = 0;

  int64_t vocab_size = 0;       // of the whole model
  int64_t first_vocab_row = 0;  // id of this rank's row 0
  int64_t vocab_rows = 0;       // the same on every rank, padding included
  int64_t vocab_rows_in_file = 0;

  int num_segments = 0;        // this rank's, of o_proj's and of down_proj's columns
  int total_num_segments = 0;  // S, over all ranks

  // Rows of this rank's fused qkv_proj: its q heads, then its k heads, then its v heads.
  int64_t qkv_rows() const { return static_cast<int64_t>(num_heads + 2 * num_kv_heads) * head_dim; }
  // Width of the gathered logits.
  int64_t padded_vocab_size() const { return vocab_rows * world_size; }
};

// The world sizes at which every rank owns whole segments of even width, ascending; empty if the
// model's sizes allow none.
std::vector<int> PossibleWorldSizes(const ShardedSizes& sizes);

// Returns INVALID_ARGUMENT, naming the possible world sizes, if `world_size` is none of them or
// `rank` is outside [0, world_size).
absl::StatusOr<Shard> MakeShard(const ShardedSizes& sizes, int rank, int world_size);

}  // namespace quartet::parallel
