// Byte-level BPE: the ids of one word. Exactly the merges of the reference: the pair of lowest rank
// first, of equals the leftmost, until nothing merges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tokenizer_service/backtracking_encoder.h"
#include "tokenizer_service/huge_pages.h"
#include "tokenizer_service/merge_table.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Memory for encoding and a cache of words met before. Bounded. Not thread-safe: one a thread.
class BpeScratch {
 public:
  BpeScratch();

 private:
  friend class Bpe;

  static constexpr size_t kCacheSlots = 1 << 14;
  static constexpr size_t kCachedBytes = 26;
  static constexpr size_t kCachedIds = 9;
  // One cache line; a new word drives out the one in its slot.
  struct alignas(64) CachedWord {
    uint8_t num_bytes = 0;  // 0: free
    uint8_t num_ids = 0;
    char bytes[kCachedBytes];
    uint32_t ids[kCachedIds];
  };

  HugeVector<CachedWord> cache_;
  std::vector<uint32_t> symbols_;
  std::string bytes_;
  BacktrackingEncoder::Scratch backtracking_;
};

// Immutable, thread-safe. Keeps no reference to the vocabulary.
class Bpe {
 public:
  explicit Bpe(const Vocabulary& vocabulary);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  // Appends the ids of `word`. Bytes that have no token are dropped, as in the reference.
  // REQUIRES: fewer than 2^31 bytes.
  void Encode(absl::string_view word, BpeScratch* scratch, std::vector<uint32_t>* ids) const;

 private:
  // A token found by its bytes. Up to eight bytes are the key themselves; longer ones are compared
  // in text_.
  struct Word {
    uint64_t key = 0;
    uint32_t id = 0;
    uint32_t num_bytes = 0;  // 0: free slot
  };

  // Words up to here are merged in place; longer ones go to the encoder for long words.
  static constexpr size_t kShortWordBytes = 8;

  static uint64_t KeyOf(absl::string_view bytes);
  uint64_t SlotOf(uint64_t key) const;
  const Word* FindWord(absl::string_view bytes, uint64_t key) const;
  void AddWord(absl::string_view bytes, uint32_t id);
  void FindBytes(const Vocabulary& vocabulary);
  void BuildWords(const Vocabulary& vocabulary);
  // What the merges make of `token`'s bytes; fills *stable and returns true if that is the token
  // itself.
  bool IsStable(const Token& token, uint32_t id, StableToken* stable) const;
  void ToSymbols(absl::string_view word, std::vector<uint32_t>* symbols) const;
  void EncodeLong(absl::string_view word, BpeScratch* scratch, std::vector<uint32_t>* ids) const;
  // REQUIRES: at most kShortWordBytes bytes. Returns the number of ids written.
  size_t MergeShort(absl::string_view word, uint32_t* ids) const;

  const MergeTable merges_;
  uint32_t byte_ids_[256];              // kNoToken for a byte that has none
  HugeVector<uint32_t> byte_ranks_;     // [256][256] rank of the merge of two bytes' tokens
  HugeVector<Word> words_;              // words that encode to one id
  std::vector<uint32_t> text_offsets_;  // by id, of words longer than eight bytes
  std::string text_;
  int words_shift_ = 0;
  size_t longest_word_bytes_ = 0;
  BacktrackingEncoder long_words_;  // built only if the merges allow it
};

}  // namespace quartet::tokenizer
