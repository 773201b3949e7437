// What one forward pass computes: flat arrays over all sequences of the step. Filled by the engine
// on each rank.
#pragma once

#include <cstdint>
#include <vector>

namespace quartet::model {

struct StepInput {
  std::vector<int32_t> token_ids;     // [T]
  std::vector<int32_t> positions;     // [T], from 0
  std::vector<int32_t> slot_mapping;  // [T]: block * kBlockTokens + offset
  std::vector<int32_t> query_start;  // [num_sequences + 1]: sequence s owns tokens [query_start[s],
                                     // query_start[s + 1])
  std::vector<int32_t> kv_len;       // [num_sequences]: positions in the cache after this step
  std::vector<int32_t> block_tables;  // [num_sequences, max_blocks]
  int32_t max_blocks = 0;
  std::vector<int32_t> logits_rows;  // [num_logits]: tokens whose logits are wanted, ascending

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(kv_len.size()); }
};

}  // namespace quartet::model
