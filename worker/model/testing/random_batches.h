// Feeds a model texts in random batches, as a scheduler of the worst kind would: any order, any
// chunks, blocks from anywhere in the cache, prefixes shared between texts, and texts thrown out
// and computed again. What comes out must be what each text gives alone.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/model/testing/decoder_group.h"

namespace quartet::model::testing {

struct Text {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab_size]: alone, all in one step
};

// What the batches had in them.
struct BatchCounters {
  int64_t steps = 0;
  int64_t rows_compared = 0;
  int64_t full_batches = 0;   // of as many sequences as there may be
  int64_t mixed_batches = 0;  // single tokens beside longer chunks
  int64_t chunks_of_16 = 0;
  int64_t chunks_off_block_edges = 0;
  int64_t shared_blocks = 0;
  int64_t preemptions = 0;
};

struct RandomBatchesOptions {
  int64_t vocab_size = 0;
  int64_t num_blocks = 0;
  int64_t max_step_tokens = 0;
  int64_t max_logits_rows = 0;
  int64_t max_sequences = 32;
};

// Use once.
class RandomBatches {
 public:
  // All must outlive this.
  RandomBatches(const RandomBatchesOptions& options, const std::vector<Text>& texts,
                DecoderGroup* model, std::mt19937_64* random, BatchCounters* counters);

  // Computes all texts, and some of them again. Returns INTERNAL naming text and position where the
  // logits differ.
  absl::Status Run();

 private:
  struct Progress {
    int64_t num_computed = 0;
    std::vector<int32_t> blocks;
    int64_t num_new_tokens = 0;  // in the step that is being built
    bool is_finished = false;
  };
  struct Row {
    size_t text;
    int64_t position;
  };

  int64_t Pick(int64_t low, int64_t high);
  bool Chance(double probability);
  int64_t Left(size_t text) const;
  int64_t PickChunk(int64_t left);
  void SharePrefix(size_t text);
  bool TakeBlock(size_t text);
  void Drop(size_t text);
  void WantSomeAgain();
  StepInput BuildStep(std::vector<Row>* rows);
  void AddToStep(size_t text, int64_t num_tokens, StepInput* input, std::vector<Row>* rows);
  void FinishTables(const std::vector<size_t>& texts, StepInput* input) const;
  absl::Status Compare(const std::vector<Row>& rows);

  const RandomBatchesOptions options_;
  const std::vector<Text>& texts_;
  DecoderGroup& model_;
  std::mt19937_64& random_;
  BatchCounters& counters_;
  std::vector<Progress> progress_;  // by text
  std::vector<int> holders_;        // by block
  std::vector<int32_t> free_;
  int64_t num_steps_ = 0;
};

// One step with tokens [first, first + count) of a text whose KV blocks are `blocks`, giving logits
// of all of them.
StepInput StepOf(const Text& text, int64_t first, int64_t count,
                 const std::vector<int32_t>& blocks);

}  // namespace quartet::model::testing
