// BPE from left to right in linear time, without merging. The idea is that of GitHub's "bpe" crate
// (rust-gems): a word's encoding is the only split into tokens in which every token encodes to
// itself and every two neighbours, put together, encode to just these two. So: take the longest
// token, check it against its left neighbour, try shorter ones, step back. Why that is so: the
// merges of two neighbours inside a word happen in the same order as in the two alone, as long as
// nothing is merged across the sides of the two. And a position is never tried twice, because what
// stands before it has only one encoding. The check of two neighbours undoes merges by descending
// rank, so it needs merges whose parts come first (MergeTable::parts_come_first).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "tokenizer_service/huge_pages.h"
#include "tokenizer_service/merge_table.h"
#include "tokenizer_service/token_trie.h"

namespace quartet::tokenizer {

// How a token came to be: the last merge of its own encoding.
struct Derivation {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t rank = kNoMerge;  // kNoMerge: a single byte
};

// A token that encodes to itself.
struct StableToken {
  absl::string_view bytes;
  uint32_t id;
  Derivation derivation;
};

// Immutable after Build, then thread-safe.
class BacktrackingEncoder {
 public:
  // REQUIRES: `merges` outlives this and has parts_come_first; `tokens` holds the parts of every
  // derivation too.
  void Build(const MergeTable* merges, uint32_t num_ids, const std::vector<StableToken>& tokens);

  static constexpr size_t kNumAnswers = 4096;
  static constexpr uint64_t kRefused = uint64_t{1} << 63;

  // Memory of one thread.
  struct Scratch {
    std::vector<uint32_t> tokens;
    std::vector<uint64_t> dead_ends;  // a bit a position
    size_t num_tries = 0;             // tokens that the last call tried, the right ones included
    // Answers of AreNeighbours by hash of the pair, kRefused set in those that said no. Runs of one
    // character ask the same few questions again and again.
    std::vector<uint64_t> answers = std::vector<uint64_t>(kNumAnswers, UINT64_MAX);
  };

  // Appends the ids of `word`. REQUIRES: every byte of it is a token.
  void Encode(absl::string_view word, Scratch* scratch, std::vector<uint32_t>* ids) const;

 private:
  struct Token {
    uint32_t num_bytes = 0;
    uint32_t shorter = kNoToken;  // the longest other token that it starts with
    Derivation derivation;
  };

  // Whether `left` and `right` side by side stay what they are.
  bool AreNeighbours(uint32_t left, uint32_t right) const;
  // The same, looked up in the scratch first.
  bool AreNeighbours(uint32_t left, uint32_t right, Scratch* scratch) const;

  const MergeTable* merges_ = nullptr;
  TokenTrie trie_;
  HugeVector<Token> tokens_;  // by id
};

}  // namespace quartet::tokenizer
