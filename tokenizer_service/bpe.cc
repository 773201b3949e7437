// Three ways, fastest first: a word that is itself a token; a word met lately; merging. Which
// tokens the merges really make out of their own bytes is found out once, at load.
#include "tokenizer_service/bpe.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "tokenizer_service/heap_merger.h"

namespace quartet::tokenizer {
namespace {

uint64_t Load64(const char* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

uint64_t Load32(const char* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

uint64_t Mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product =
      static_cast<unsigned __int128>(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

BpeScratch::BpeScratch() : cache_(kCacheSlots) {}

// The bytes themselves up to eight (with the size beside it unique), a hash above.
uint64_t Bpe::KeyOf(absl::string_view bytes) {
  const char* p = bytes.data();
  const size_t size = bytes.size();
  if (size >= 8) {
    if (size == 8) return Load64(p);
    uint64_t hash = size;
    size_t at = 0;
    for (; at + 16 < size; at += 8) hash = Mix(hash, Load64(p + at));
    return Mix(hash ^ Load64(p + at), Load64(p + size - 8));
  }
  if (size >= 4) return Load32(p) | Load32(p + size - 4) << 8 * (size - 4);
  uint64_t key = 0;
  for (size_t i = 0; i < size; ++i) key |= uint64_t{static_cast<unsigned char>(p[i])} << 8 * i;
  return key;
}

uint64_t Bpe::SlotOf(uint64_t key) const { return Mix(key, 0) >> words_shift_; }

const Bpe::Word* Bpe::FindWord(absl::string_view bytes, uint64_t key) const {
  const uint64_t mask = words_.size() - 1;
  for (uint64_t at = SlotOf(key);; at = (at + 1) & mask) {
    const Word& word = words_[at];
    if (word.num_bytes == 0) return nullptr;
    if (word.key != key || word.num_bytes != bytes.size()) continue;
    if (bytes.size() <= 8 ||
        std::memcmp(text_.data() + text_offsets_[word.id], bytes.data(), bytes.size()) == 0) {
      return &word;
    }
  }
}

void Bpe::AddWord(absl::string_view bytes, uint32_t id) {
  longest_word_bytes_ = std::max(longest_word_bytes_, bytes.size());
  const uint64_t key = KeyOf(bytes);
  const uint64_t mask = words_.size() - 1;
  uint64_t at = SlotOf(key);
  while (words_[at].num_bytes != 0) at = (at + 1) & mask;
  words_[at] = {key, id, static_cast<uint32_t>(bytes.size())};
  if (bytes.size() <= 8) return;
  text_offsets_[id] = static_cast<uint32_t>(text_.size());
  text_.append(bytes.data(), bytes.size());
}

Bpe::Bpe(const Vocabulary& vocabulary) : merges_(vocabulary.merges) {
  FindBytes(vocabulary);
  BuildWords(vocabulary);
}

void Bpe::FindBytes(const Vocabulary& vocabulary) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), kNoToken);
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (!token.byte_level || token.bytes.size() != 1) continue;
    byte_ids_[static_cast<unsigned char>(token.bytes[0])] = id;
  }
  byte_ranks_.assign(256 * 256, kNoMerge);
  for (int left = 0; left < 256; ++left) {
    for (int right = 0; right < 256; ++right) {
      if (byte_ids_[left] == kNoToken || byte_ids_[right] == kNoToken) continue;
      byte_ranks_[left * 256 + right] = merges_.Rank(byte_ids_[left], byte_ids_[right]);
    }
  }
}

bool Bpe::IsStable(const Token& token, uint32_t id, StableToken* stable) const {
  std::vector<uint32_t> symbols;
  ToSymbols(token.bytes, &symbols);
  const uint32_t last_rank = MergeByHeap(merges_, &symbols);
  if (symbols.size() != 1 || symbols[0] != id) return false;
  *stable = {token.bytes, id, {}};
  if (last_rank != kNoMerge) {
    const Merge& merge = merges_.At(last_rank);
    stable->derivation = {merge.left, merge.right, last_rank};
  }
  return true;
}

void Bpe::BuildWords(const Vocabulary& vocabulary) {
  int bits = 6;
  while ((uint64_t{1} << bits) < vocabulary.tokens.size() * 2) ++bits;
  words_.resize(uint64_t{1} << bits);
  words_shift_ = 64 - bits;
  text_offsets_.resize(vocabulary.tokens.size());
  std::vector<StableToken> stable_tokens;
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (!token.byte_level) continue;
    StableToken stable;
    const bool is_stable = IsStable(token, id, &stable);
    if (is_stable) stable_tokens.push_back(stable);
    if (is_stable || vocabulary.ignore_merges) AddWord(token.bytes, id);
  }
  if (!merges_.parts_come_first()) return;
  long_words_.Build(&merges_, static_cast<uint32_t>(vocabulary.tokens.size()), stable_tokens);
}

void Bpe::ToSymbols(absl::string_view word, std::vector<uint32_t>* symbols) const {
  symbols->clear();
  for (const char c : word) {
    const uint32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id != kNoToken) symbols->push_back(id);
  }
}

void Bpe::EncodeLong(absl::string_view word, BpeScratch* scratch,
                     std::vector<uint32_t>* ids) const {
  if (!merges_.parts_come_first()) {
    ToSymbols(word, &scratch->symbols_);
    MergeByHeap(merges_, &scratch->symbols_);
    ids->insert(ids->end(), scratch->symbols_.begin(), scratch->symbols_.end());
    return;
  }
  const auto has_no_token = [this](char c) {
    return byte_ids_[static_cast<unsigned char>(c)] == kNoToken;
  };
  if (std::any_of(word.begin(), word.end(), has_no_token)) {
    std::string& bytes = scratch->bytes_;
    bytes.clear();
    std::remove_copy_if(word.begin(), word.end(), std::back_inserter(bytes), has_no_token);
    word = bytes;
  }
  long_words_.Encode(word, &scratch->backtracking_, ids);
}

size_t Bpe::MergeShort(absl::string_view word, uint32_t* ids) const {
  uint32_t ranks[kShortWordBytes];  // ranks[i]: of the pair (i, i + 1)
  size_t size = 0;
  unsigned char previous = 0;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte_ids_[byte] == kNoToken) continue;
    if (size > 0) ranks[size - 1] = byte_ranks_[previous * 256 + byte];
    ids[size++] = byte_ids_[byte];
    previous = byte;
  }
  while (size > 1) {
    const size_t num_pairs = size - 1;
    uint32_t lowest = kNoMerge;
    size_t at = 0;
    for (size_t i = 0; i < num_pairs; ++i) {
      const bool lower = ranks[i] < lowest;
      lowest = lower ? ranks[i] : lowest;
      at = lower ? i : at;
    }
    if (lowest == kNoMerge) break;
    ids[at] = merges_.Result(lowest);
    std::memmove(ids + at + 1, ids + at + 2, (size - at - 2) * sizeof(uint32_t));
    --size;
    if (at + 1 < size) {
      std::memmove(ranks + at + 1, ranks + at + 2, (size - at - 2) * sizeof(uint32_t));
      ranks[at] = merges_.Rank(ids[at], ids[at + 1]);
    }
    if (at > 0) ranks[at - 1] = merges_.Rank(ids[at - 1], ids[at]);
  }
  return size;
}

void Bpe::Encode(absl::string_view word, BpeScratch* scratch, std::vector<uint32_t>* ids) const {
  if (word.empty()) return;  // its data may be null, which memcpy must not get
  if (word.size() > std::max(longest_word_bytes_, BpeScratch::kCachedBytes)) {
    EncodeLong(word, scratch, ids);
    return;
  }
  const uint64_t key = KeyOf(word);
  if (const Word* const found = FindWord(word, key); found != nullptr) {
    ids->push_back(found->id);
    return;
  }
  BpeScratch::CachedWord& cached = scratch->cache_[Mix(key, 0) % BpeScratch::kCacheSlots];
  if (cached.num_bytes == word.size() && std::memcmp(cached.bytes, word.data(), word.size()) == 0) {
    ids->insert(ids->end(), cached.ids, cached.ids + cached.num_ids);
    return;
  }
  const size_t before = ids->size();
  if (word.size() <= kShortWordBytes) {
    uint32_t merged[kShortWordBytes];
    ids->insert(ids->end(), merged, merged + MergeShort(word, merged));
  } else {
    EncodeLong(word, scratch, ids);
  }
  const size_t size = ids->size() - before;
  if (word.size() > BpeScratch::kCachedBytes || size > BpeScratch::kCachedIds) return;
  cached.num_bytes = static_cast<uint8_t>(word.size());
  cached.num_ids = static_cast<uint8_t>(size);
  std::memcpy(cached.bytes, word.data(), word.size());
  std::copy(ids->begin() + before, ids->end(), cached.ids);
}

}  // namespace quartet::tokenizer
